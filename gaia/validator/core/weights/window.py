"""Inputs of a weight vector, from the scores of the window and the metagraph."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gaia.validator.core.weights.inputs import VectorInputs
from gaia.validator.core.weights.renaming import renamed_in
from gaia.validator.core.weights.rules.base import Entry, Standing
from gaia.validator.core.weights.vector import Terms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gaia.tasks.defined_tasks.base import CopyFinder
    from gaia.validator.core.weights.vector import Registered
    from gaia.validator.db.journal import WindowScore
    from gaia.validator.utils.chain.metagraph import Metagraph
    from gaia.validator.utils.settings.weights import WeightsSettings

_STANDINGS = {
    "planned": Standing.AWAITED,
    "requested": Standing.AWAITED,
    "rejected": Standing.REJECTED,
    "excused": Standing.EXCUSED,
}


async def inputs_of(
    scores: Sequence[WindowScore],
    metagraph: Metagraph,
    present: Registered,
    settings: WeightsSettings,
    copies: CopyFinder,
) -> VectorInputs:
    """Return the inputs of the vector for these scores of the window; see `CopyFinder.find` for errors."""
    renamed = renamed_in(scores, metagraph)
    inputs = VectorInputs(
        terms=Terms(
            rule=settings.rule_set,
            burn_fraction=settings.burn_fraction,
            burn_enabled=settings.burn_enabled,
            burn_hotkey=settings.burn_hotkey,
            contrast_gamma=settings.contrast_gamma,
        ),
        present=present,
        runs=entries_of(scores, metagraph, renamed),
        renamed=renamed,
    )
    earning = inputs.earning()
    if not earning:
        return inputs
    return replace(inputs, found=await copies.find(inputs.members(), earning, renamed))


def entries_of(
    scores: Sequence[WindowScore],
    metagraph: Metagraph,
    renamed: Mapping[str, Mapping[str, str]],
) -> dict[str, dict[str, Entry]]:
    """Return run -> hotkey -> entry for the window, oldest run first.

    Scores from before a new registration of a hotkey belong to another miner, and are left out. Those of a
    hotkey that was swapped stand under its present name.
    """
    registrations = {(n.hotkey, n.registered_at) for n in metagraph.neurons}
    runs: dict[str, dict[str, Entry]] = {}
    for score in scores:
        entries = runs.setdefault(score.run_id, {})
        name = renamed.get(score.run_id, {}).get(score.hotkey, "")
        if name or (score.hotkey, score.registered_at) in registrations:
            entries[name or score.hotkey] = Entry(
                standing=_STANDINGS.get(score.state, Standing.DELIVERED),
                overall=score.overall,
                leads=score.leads,
            )
    return runs
