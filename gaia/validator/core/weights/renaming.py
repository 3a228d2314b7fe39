"""Follows miners that swapped their hotkey: a registration keeps its scores and shares under its present name."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from gaia.validator.utils.chain.metagraph import Registration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gaia.validator.core.weights.inputs import VectorInputs
    from gaia.validator.db.journal import WindowScore
    from gaia.validator.utils.chain.metagraph import Metagraph

T = TypeVar("T")

Names = dict[str, str]
"""Hotkey -> the one it was swapped for since."""


def renamed_in(scores: Sequence[WindowScore], metagraph: Metagraph) -> dict[str, Names]:
    """Return run -> hotkeys that were asked in it and were swapped since.

    A swap changes neither uid nor block of a registration. Two hotkeys that were asked in one run are two
    miners, whatever else suggests a swap, because only one of them can have had the registration. Of two that
    were registered in one block, a trim may have moved one into the slot of the other, so neither is followed.
    """
    present = {(neuron.hotkey, neuron.registered_at) for neuron in metagraph.neurons}
    in_runs = Counter((score.run_id, score.registered_at) for score in scores)
    together = {registered_at for (_, registered_at), count in in_runs.items() if count > 1}
    asked: defaultdict[str, Counter[str]] = defaultdict(Counter)
    renamed: dict[str, Names] = {}
    for score in scores:
        if (score.hotkey, score.registered_at) in present:
            asked[score.hotkey][score.run_id] += 1
            continue
        neuron = metagraph.holder(Registration(score.hotkey, score.uid, score.registered_at))
        if neuron is not None and score.registered_at not in together:
            asked[neuron.hotkey][score.run_id] += 1
            renamed.setdefault(score.run_id, {})[score.hotkey] = neuron.hotkey
    doubtful = {hotkey for hotkey, runs in asked.items() if max(runs.values()) > 1}
    kept = {
        run_id: {old: new for old, new in names.items() if new not in doubtful}
        for run_id, names in renamed.items()
    }
    return {run_id: names for run_id, names in kept.items() if names}


def swapped_since(inputs: VectorInputs, metagraph: Metagraph) -> Names:
    """Return the hotkeys of an earlier vector that were swapped since; none for inputs of older releases."""
    present, known = {neuron.hotkey for neuron in metagraph.neurons}, inputs.present
    names: Names = {}
    together = Counter(known.registered.values())
    for hotkey, registered_at in known.registered.items():
        if hotkey in present or together[registered_at] > 1:
            continue
        neuron = metagraph.holder(Registration(hotkey, known.uids[hotkey], registered_at))
        if neuron is not None and neuron.hotkey not in known.uids:
            names[hotkey] = neuron.hotkey
    return names


def with_names(inputs: VectorInputs, names: Names) -> VectorInputs:
    """Return the inputs as if the swapped hotkeys had had their present names from the beginning."""
    if not names:
        return inputs
    then, found = inputs.present, inputs.found
    present = replace(
        then,
        uids=_by_name(then.uids, names),
        eligible=frozenset(names.get(hotkey, hotkey) for hotkey in then.eligible),
        owner_hotkey=names.get(then.owner_hotkey, then.owner_hotkey),
        earlier=_by_name(then.earlier, names),
        registered=_by_name(then.registered, names),
    )
    pairs = [(names.get(one, one), names.get(other, other), part) for one, other, part in found.pairs]
    return replace(
        inputs,
        present=present,
        runs={run_id: _by_name(entries, names) for run_id, entries in inputs.runs.items()},
        found=replace(found, pairs=pairs, committed=_by_name(found.committed, names)),
        renamed=_later_names(inputs, names),
    )


def _later_names(inputs: VectorInputs, names: Names) -> dict[str, Names]:
    """Return the names of each run since it was opened."""
    later: dict[str, Names] = {}
    for run_id, entries in inputs.runs.items():
        known = {old: names.get(new, new) for old, new in inputs.renamed.get(run_id, {}).items()}
        earlier = inputs.renamed.get(run_id, {}).values()
        fresh = {old: new for old, new in names.items() if old in entries and old not in earlier}
        if known or fresh:
            later[run_id] = {**known, **fresh}
    return later


def _by_name(values: Mapping[str, T], names: Names) -> dict[str, T]:
    return {names.get(hotkey, hotkey): value for hotkey, value in values.items()}
