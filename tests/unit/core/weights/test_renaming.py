"""Miners that swapped their hotkey keep their scores, their shares and what they share with others."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.validator.core.weights.inputs import VectorInputs, from_parts, to_parts
from gaia.validator.core.weights.renaming import renamed_in, swapped_since, with_names
from gaia.validator.core.weights.rules.base import Entry, Standing
from gaia.validator.core.weights.vector import Terms, registered
from gaia.validator.core.weights.window import entries_of
from gaia.validator.db.journal import WindowScore
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.identities import Hotkey, RunId
from tests.support.fakes import a_metagraph

_BEFORE = a_metagraph(["5First", "5Second"])
_TERMS = Terms(rule="gaia-2.9", burn_fraction=0.0, burn_enabled=False, burn_hotkey="", contrast_gamma=1.0)


def _score(run: str, hotkey: str, uid: int, overall: float, **changes: Any) -> WindowScore:
    values: dict[str, Any] = {
        "run_id": RunId(run),
        "completed": True,
        "hotkey": Hotkey(hotkey),
        "uid": uid,
        "registered_at": uid,
        "state": ForecastState.SCORED,
        "overall": overall,
        "leads": {24: overall},
        "updated_at": datetime(2026, 4, 1, tzinfo=UTC),
    }
    return WindowScore(**values | changes)


def _after_swap(old: str = "5Second", new: str = "5Swapped", graph: Metagraph = _BEFORE) -> Metagraph:
    neurons = [
        msgspec.structs.replace(neuron, hotkey=Hotkey(new)) if neuron.hotkey == old else neuron
        for neuron in graph.neurons
    ]
    return msgspec.structs.replace(graph, neurons=neurons)


def test_swapped_miner_keeps_the_scores_of_runs_before_the_swap() -> None:
    scores = [_score("r1", "5Second", 2, 0.5), _score("r2", "5Swapped", 2, 0.75)]
    graph = _after_swap()

    renamed = renamed_in(scores, graph)
    runs = entries_of(scores, graph, renamed)

    assert renamed == {"r1": {"5Second": "5Swapped"}}
    assert {run: {name: entry.overall for name, entry in one.items()} for run, one in runs.items()} == {
        "r1": {"5Swapped": 0.5},
        "r2": {"5Swapped": 0.75},
    }


def test_swaps_in_succession_lead_to_the_present_hotkey() -> None:
    scores = [_score("r1", "5Second", 2, 0.5), _score("r2", "5Between", 2, 0.75)]

    renamed = renamed_in(scores, _after_swap())

    assert renamed == {"r1": {"5Second": "5Swapped"}, "r2": {"5Between": "5Swapped"}}


def test_successor_in_a_slot_inherits_nothing() -> None:
    neurons = list(_BEFORE.neurons)
    neurons[2] = msgspec.structs.replace(neurons[2], hotkey=Hotkey("5Newcomer"), registered_at=990)
    graph = msgspec.structs.replace(_BEFORE, neurons=neurons)
    scores = [_score("r1", "5Second", 2, 0.5)]

    assert not renamed_in(scores, graph)
    assert entries_of(scores, graph, {}) == {"r1": {}}


def test_hotkeys_that_were_asked_in_one_run_are_two_miners() -> None:
    """Two miners of one block, of which a trim removed one and moved the other into its slot."""
    scores = [
        _score("r1", "5First", 1, 0.5, registered_at=7),
        _score("r1", "5Second", 2, 0.25, registered_at=7),
        _score("r2", "5First", 1, 0.5, registered_at=7),
    ]
    second = msgspec.structs.replace(_BEFORE.neurons[2], uid=1, registered_at=7)
    graph = msgspec.structs.replace(_BEFORE, neurons=[_BEFORE.neurons[0], second])

    assert not renamed_in(scores, graph)
    assert list(entries_of(scores, graph, {})["r1"]) == ["5Second"]
    assert not entries_of(scores, graph, {})["r2"]


def test_miner_of_the_same_block_that_moved_and_swapped_takes_no_scores() -> None:
    scores = [
        _score("r1", "5First", 1, 0.5, registered_at=7),
        _score("r1", "5Second", 2, 0.25, registered_at=7),
    ]
    swapped = msgspec.structs.replace(_BEFORE.neurons[2], uid=1, registered_at=7, hotkey=Hotkey("5Swapped"))
    graph = msgspec.structs.replace(_BEFORE, neurons=[_BEFORE.neurons[0], swapped])

    assert not renamed_in(scores, graph)


def _inputs(renamed: dict[str, dict[str, str]] | None = None) -> VectorInputs:
    entry = Entry(standing=Standing.DELIVERED, overall=0.5, leads={24: 0.5})
    return VectorInputs(
        terms=_TERMS,
        present=registered(_BEFORE),
        runs={"r1": {"5First": entry, "5Second": entry}, "r2": {"5First": entry}},
        found=FoundCopies(
            pairs=[("5First", "5Second", 0.25)], committed={"5Second": 3}, products=[("r1", 24, "ab")]
        ),
        renamed=renamed or {},
    )


def test_last_vector_stands_under_the_hotkeys_of_now() -> None:
    inputs, graph = _inputs(), _after_swap()

    names = swapped_since(inputs, graph)
    later = with_names(inputs, names)

    assert names == {"5Second": "5Swapped"}
    assert later.present.uids == {neuron.hotkey: neuron.uid for neuron in graph.neurons}
    assert "5Swapped" in later.present.eligible
    assert later.present.registered["5Swapped"] == 2
    assert list(later.runs["r1"]) == ["5First", "5Swapped"]
    assert later.found.pairs == [("5First", "5Swapped", 0.25)]
    assert later.found.committed == {"5Swapped": 3}
    assert later.renamed == {"r1": {"5Second": "5Swapped"}}
    weights = inputs.weights()
    assert weights is not None
    assert later.weights() == weights


def test_names_of_runs_lead_from_the_first_hotkey_to_the_last() -> None:
    inputs = _inputs({"r1": {"5Once": "5Second"}})

    later = with_names(inputs, swapped_since(inputs, _after_swap()))

    assert later.renamed == {"r1": {"5Once": "5Swapped"}}


def test_nothing_is_renamed_where_nobody_swapped() -> None:
    inputs = _inputs()

    assert not swapped_since(inputs, _BEFORE)
    assert with_names(inputs, {}) is inputs


def test_hotkey_that_took_over_a_slot_of_the_last_vector_is_not_its_miner() -> None:
    """The new holder has a registration of its own, or was in the last vector itself."""
    neurons = list(_BEFORE.neurons)
    neurons[2] = msgspec.structs.replace(neurons[2], hotkey=Hotkey("5Newcomer"), registered_at=990)

    assert not swapped_since(_inputs(), msgspec.structs.replace(_BEFORE, neurons=neurons))


def test_names_and_registrations_outlive_the_journal() -> None:
    inputs = with_names(_inputs(), {"5Second": "5Swapped"})

    names, parts = to_parts(inputs)

    assert from_parts(names, parts) == inputs
