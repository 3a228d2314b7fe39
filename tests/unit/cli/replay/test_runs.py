"""A replay sees every bit that differs, and every number that is missing."""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaia.cli.replay import runs as replay
from gaia.cli.replay.runs import Verdict, same_bits
from gaia.cli.replay.units import InputMissing, Key, Outcome
from gaia.cli.replaying import units_apart, written
from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import State
from gaia.tasks.defined_tasks.weather.forecasts.outcomes import score_of, total_of
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component
from gaia.tasks.defined_tasks.weather.units import LeadScored
from gaia.validator.db.history import RunSummary, StoredRun
from gaia.validator.db.inputs import Contract
from gaia.validator.db.rows import LeadRow, ScoreRow
from gaia.validator.db.states import RunState
from gaia.validator.utils.identities import Hotkey, RunId
from tests.support.stored_rows import a_component_row, a_forecast_row

MOMENT = datetime(2026, 3, 25, tzinfo=UTC)
Replayed = Callable[..., Verdict]

KEY: Key = (Hotkey("5Miner"), "gaia-2.9", LeadKind.FINAL, 24)
CONTRACT = Contract(day1_lead_hours=[12], final_lead_hours=[24], day1_fields=["2t"], final_fields=["2t"])
COMPONENT: Mapping[str, Any] = {
    "field": "2t",
    "lead_hours": 24,
    "rmse": 0.5,
    "mse": 0.25,
    "mae": 0.1 + 0.2,
    "bias": -0.0,
    "acc": 0.9,
    "skill_climatology": 0.7,
    "skill_gfs": None,
}
VALUE = LeadScored(components=[Component(**COMPONENT)], field_digests={"2t": "d" * 64})


def a_stored_run() -> StoredRun:
    """What the value above leaves in the database."""
    rules = RULE_SETS["gaia-2.9"]
    score = score_of(rules, "final", [Component(**COMPONENT)], ["2t"])
    total = total_of(rules, {("final", 24): score}, CONTRACT, State.SCORED_DAY1)
    who: Mapping[str, Any] = {"run_id": "r", "hotkey": "5Miner", "rule_set": "gaia-2.9"}
    measures = {name: value for name, value in COMPONENT.items() if name not in ("field", "lead_hours")}
    return StoredRun(
        summary=RunSummary(
            run_id=RunId("r"),
            init_time=MOMENT,
            rule_set="gaia-2.9",
            state=RunState.OPEN,
            opened_at=MOMENT,
            completed_at=None,
            contract=CONTRACT,
            forecasts=1,
            unfrozen=0,
            scored=0,
            rejected=0,
            excused=0,
            has_scores=True,
        ),
        forecasts=[a_forecast_row(state=State.SCORED_DAY1)],
        components=[a_component_row(measures)],
        leads=[LeadRow(**who, kind="final", lead_hours=24, score=score, reason=None, cpu_s=0.1)],
        scores=[
            ScoreRow(**who, day1=None, leads={"24": score}, overall=total.overall, counted=total.counted)
        ],
        inputs=[],
    )


def replay_run(stored: StoredRun) -> Verdict:
    """Replay a run of which no unit is computed in another process."""
    return replay.replay_run(stored, Path("nowhere"), None)  # type: ignore[arg-type] # nothing needs it


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Replayed:
    """Replay a stored run with handlers that return `value`."""

    def run(stored: StoredRun, value: LeadScored | None = VALUE, problem: str = "") -> Verdict:
        monkeypatch.setattr(replay, "units_of", lambda *_: [])
        monkeypatch.setattr(replay, "compute", lambda *_: [Outcome((KEY,), value, problem)])
        return replay_run(stored)

    return run


def changed(run: StoredRun, part: str, **values: Any) -> StoredRun:
    (row,) = getattr(run, part)
    if values.keys() <= COMPONENT.keys():
        values = {"measures": row.measures | values}
    changes: dict[str, Any] = {part: [replace(row, **values)]}
    return replace(run, **changes)


def test_imported_run_is_said_to_be_imported_and_nothing_of_it_is_computed() -> None:
    stored = a_stored_run()
    imported = replace(stored.summary, imported_from="original run 12", contract=None)

    verdict = replay_run(replace(stored, summary=imported))

    assert (verdict.is_same, verdict.numbers, verdict.imported_from) == (True, 0, "original run 12")


def test_run_that_comes_out_the_same_has_no_difference(replayed: Replayed) -> None:
    verdict = replayed(a_stored_run())

    assert verdict.is_same
    assert verdict.numbers == 7 + 1 + 1 + 4


@pytest.mark.parametrize(
    ("part", "name"),
    [("components", "mae"), ("components", "acc"), ("leads", "score"), ("scores", "overall")],
)
def test_last_bit_of_any_number_is_noticed(replayed: Replayed, part: str, name: str) -> None:
    run = a_stored_run()
    (row,) = getattr(run, part)
    stored = row.measures[name] if part == "components" else getattr(row, name)

    verdict = replayed(changed(run, part, **{name: math.nextafter(stored, 2.0)}))

    assert [difference.computed for difference in verdict.differences] == [stored]
    assert verdict.differences[0].where.endswith(name)


def test_lost_sign_of_zero_is_noticed(replayed: Replayed) -> None:
    verdict = replayed(changed(a_stored_run(), "components", bias=0.0))

    assert [difference.where.split()[-1] for difference in verdict.differences] == ["bias"]


def test_measure_that_was_not_taken_then_is_noticed(replayed: Replayed) -> None:
    verdict = replayed(changed(a_stored_run(), "components", skill_gfs=0.5))

    assert [(d.stored, d.computed) for d in verdict.differences] == [(0.5, None)]


def test_other_bytes_of_the_forecast_are_noticed(replayed: Replayed) -> None:
    verdict = replayed(changed(a_stored_run(), "components", forecast_digest="e" * 64))

    assert not verdict.is_same


def test_component_that_was_never_stored_is_a_problem(replayed: Replayed) -> None:
    run = a_stored_run()
    (row,) = run.components
    verdict = replayed(replace(run, components=[replace(row, field="10u")]))

    assert verdict.problems == ["5Miner gaia-2.9 final +24h 2t: was not stored"]


def test_run_whose_scores_of_fields_were_removed_is_said_to_be_incomplete(replayed: Replayed) -> None:
    verdict = replayed(replace(a_stored_run(), components=[]))

    assert verdict.problems == ["its scores of fields were removed, as GAIA_KEEP_SCORES_DAYS says"]
    assert not verdict.is_same


def test_unit_that_fails_is_a_problem_and_not_a_difference(replayed: Replayed) -> None:
    verdict = replayed(a_stored_run(), value=None, problem="InputMissing: gone")

    assert verdict.problems == ["5Miner gaia-2.9 final +24h: InputMissing: gone"]
    assert not verdict.is_same


def test_rejected_forecast_is_worth_the_worst_whatever_its_leads(replayed: Replayed) -> None:
    run = replace(a_stored_run(), forecasts=[a_forecast_row(state=State.REJECTED)])

    verdict = replayed(changed(run, "scores", overall=0.0))

    assert verdict.is_same


def test_inputs_that_were_not_recorded_are_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise InputMissing("nothing was kept")

    monkeypatch.setattr(replay, "units_of", gone)

    assert replay_run(a_stored_run()).problems == ["nothing was kept"]


@given(st.floats(), st.floats())
def test_two_numbers_are_the_same_when_their_bytes_are(one: float, other: float) -> None:
    assert same_bits(one, other) == (struct.pack("<d", one) == struct.pack("<d", other))


def test_integer_is_not_the_number_of_the_same_value() -> None:
    assert not same_bits(1.0, 1)
    assert same_bits(None, None)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 50))
def test_distance_counts_the_representable_numbers_between(start: float, steps: int) -> None:
    value = start
    for _ in range(steps):
        value = math.nextafter(value, math.inf)

    if math.isfinite(value):
        assert units_apart(start, value) == steps


def test_value_is_written_with_all_its_bits() -> None:
    assert float.fromhex(written(0.1 + 0.2).split("(")[1].rstrip(")")) == 0.1 + 0.2
    assert Verdict(RunId("r")).is_same
