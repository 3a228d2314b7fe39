"""The explanation of a weight follows a miner through a swap of its hotkey."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gaia.cli.explaining import explanation
from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.validator.core.weights.inputs import VectorInputs
from gaia.validator.core.weights.vector import Registered, Terms
from tests.support.stored_rows import a_forecast_row, a_vector_row, an_overall_row
from tests.unit.cli.replay.test_runs import a_stored_run

_INPUTS = VectorInputs(
    terms=Terms(rule="gaia-2.9", burn_fraction=0.0, burn_enabled=False, burn_hotkey="", contrast_gamma=1.0),
    present=Registered(uids={"5Swapped": 1}, eligible=["5Swapped"], owner_hotkey=""),
    runs={},
    found=FoundCopies(pairs=[("5Swapped", "5Other", 0.5)], committed={"5Swapped": 2}, products=[]),
    renamed={"r": {"5Miner": "5Swapped"}},
)
_VECTOR = a_vector_row(weights={"5Swapped": 0.25}, run_ids=["r", "later"])
_OVERALL = [
    an_overall_row(overall=0.5),
    an_overall_row(run_id="later", hotkey="5Swapped", overall=0.75),
    an_overall_row(run_id="later", hotkey="5Miner", overall=0.125),
]


def _weight(inputs: VectorInputs | None) -> Any:
    explained: Any = explanation(a_stored_run(), a_forecast_row(), "gaia-2.9", _VECTOR, _OVERALL, inputs)
    return explained["weight"]


def test_run_before_a_swap_leads_to_the_weight_of_the_new_hotkey() -> None:
    weight = _weight(_INPUTS)

    assert (weight["hotkey"], weight["share"]) == ("5Swapped", 0.25)
    assert [(row["run_id"], row["overall"]) for row in weight["window"]] == [("r", 0.5), ("later", 0.75)]
    assert weight["copies"]["committed_in_round"] == 2
    assert [other["hotkey"] for other in weight["copies"]["shared_with"]] == ["5Other"]


def test_hotkey_that_was_registered_by_somebody_else_later_is_not_mixed_in() -> None:
    weight = _weight(replace(_INPUTS, renamed={}))

    assert (weight["hotkey"], weight["share"]) == ("5Miner", 0.0)
    assert _weight(None)["copies"] is None
