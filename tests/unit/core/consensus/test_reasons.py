"""Which single change explains that our weight of a miner is not the others'."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.validator.core.consensus.reasons import AS_IT_IS, reason_of, replays_of
from gaia.validator.core.weights.inputs import VectorInputs
from gaia.validator.core.weights.rules.base import Entry, Standing
from gaia.validator.core.weights.vector import Registered, Terms

_UIDS = {"5Owner": 0, "5One": 1, "5Two": 2, "5Three": 3}


def _entry(overall: float | None, standing: Standing = Standing.DELIVERED) -> Entry:
    return Entry(
        standing=standing, overall=overall, leads={} if overall is None else {24: overall, 48: overall}
    )


def _inputs(rule: str = "gaia-2.9", **runs: dict[str, Entry]) -> VectorInputs:
    return VectorInputs(
        terms=Terms(rule=rule, burn_fraction=0.5, burn_enabled=True, burn_hotkey="", contrast_gamma=1.3),
        present=Registered(uids=_UIDS, eligible=frozenset(_UIDS) - {"5Owner"}, owner_hotkey="5Owner"),
        runs=runs or {"first": {"5One": _entry(0.9), "5Two": _entry(0.6), "5Three": _entry(0.3)}},
    )


def _others(inputs: VectorInputs) -> dict[int, float]:
    return inputs.weights() or {}


def _why(inputs: VectorInputs, others: dict[int, float], uid: int) -> str:
    return reason_of(uid, others.get(uid, 0.0), replays_of(inputs, others), inputs)


def test_another_burn_explains_the_weight_of_every_miner() -> None:
    inputs = _inputs()
    others = _others(replace(inputs, terms=replace(inputs.terms, burn_fraction=0.9)))

    replays = replays_of(inputs, others)

    assert [each.change for each in replays][:2] == [AS_IT_IS, "burn of 90.0%"]
    assert replays[0].distance == pytest.approx(0.4)
    assert replays[1].distance == pytest.approx(0.0)
    assert {_why(inputs, others, uid) for uid in (1, 2)} == {"burn of 90.0%"}


def test_no_burn_at_all_is_a_burn_of_nothing() -> None:
    inputs = _inputs()
    others = _others(replace(inputs, terms=replace(inputs.terms, burn_enabled=False)))

    assert replays_of(inputs, others)[1].change == "burn of 0.0%"
    assert replays_of(inputs, others)[1].distance == pytest.approx(0.0)


def test_run_that_the_others_have_not_scored_yet_is_named() -> None:
    inputs = _inputs(
        first={"5One": _entry(0.9), "5Two": _entry(0.3)}, second={"5One": _entry(0.1), "5Two": _entry(0.9)}
    )
    earlier = replace(inputs, runs={"first": inputs.runs["first"]})

    assert _why(inputs, _others(earlier), 2) == "without run second"


def test_miner_that_only_we_excuse_is_named() -> None:
    runs = {
        "first": {"5One": _entry(0.9), "5Two": _entry(0.8)},
        "second": {"5One": _entry(0.9), "5Two": _entry(None, Standing.EXCUSED)},
    }
    strict = {**runs, "second": {"5One": _entry(0.9), "5Two": _entry(0.0, Standing.REJECTED)}}
    inputs = _inputs("gaia-next", **runs)

    assert _why(inputs, _others(_inputs("gaia-next", **strict)), 2) == "excused as failed"


def test_copies_that_only_we_found_are_named() -> None:
    found = FoundCopies(pairs=[("5One", "5Two", 1.0)], committed={"5One": 1, "5Two": 2}, products=[])
    runs = {
        f"run{day}": {"5One": _entry(0.9), "5Two": _entry(0.9), "5Three": _entry(0.5)} for day in range(9)
    }
    inputs = replace(_inputs("gaia-next", **runs), found=found)

    assert _why(inputs, _others(_inputs("gaia-next", **runs)), 2) == "copies not found"


def test_forecasts_that_only_we_rejected_are_counted() -> None:
    inputs = _inputs(
        first={"5One": _entry(0.9), "5Two": _entry(None, Standing.REJECTED)},
        second={"5One": _entry(0.9), "5Two": _entry(None, Standing.REJECTED)},
    )

    assert _why(inputs, {0: 0.5, 1: 0.25, 2: 0.25}, 2) == "rejected in 2 of 2 runs"


def test_miner_that_was_not_asked_in_every_run_is_told_so() -> None:
    inputs = _inputs(first={"5One": _entry(0.9)}, second={"5One": _entry(0.9), "5Two": _entry(0.1)})

    assert _why(inputs, {0: 0.5, 2: 0.5}, 2) == "asked in 1 of 2 runs"


def test_uid_without_a_hotkey_then_is_new() -> None:
    assert _why(_inputs(), {0: 0.5, 7: 0.5}, 7) == "registered since"


def test_other_scores_have_no_reason_here() -> None:
    inputs = _inputs()

    assert _why(inputs, {0: 0.5, 1: 0.1, 2: 0.1, 3: 0.3}, 3) == ""
