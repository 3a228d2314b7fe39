"""A run is scored under a change only if its measures are complete, and each forecast as the validator would score it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gaia.cli.whatif.rescoring import Components, Rescored, components_of, rescored
from gaia.tasks.defined_tasks.weather.forecasts.outcomes import total_of
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component
from gaia.validator.db.history import RunSummary, StoredRun
from gaia.validator.db.inputs import Contract
from gaia.validator.db.journal import WindowScore
from gaia.validator.db.rows import ComponentRow, LeadRow
from gaia.validator.db.states import ForecastState, RunState
from gaia.validator.utils.identities import Hotkey, RunId
from tests.support.stored_rows import MOMENT, a_component_row

RULES = RULE_SETS["gaia-2.9"]
RUN = RunId("r")
FIELDS = ("2t", "msl")
CONTRACT = Contract(day1_lead_hours=(12,), final_lead_hours=(24, 48), day1_fields=FIELDS, final_fields=FIELDS)
SKILLS = {
    ("final", 24, "2t"): 0.75,
    ("final", 24, "msl"): 0.5,
    ("final", 48, "2t"): 0.25,
    ("final", 48, "msl"): 0.125,
}
WORST_24 = {("final", 24): "the chunk is missing"}


def measured(skill: float) -> dict[str, float | None]:
    return {
        "rmse": 1.0,
        "mse": 1.0,
        "mae": 1.0,
        "bias": 0.0,
        "acc": 0.5,
        "skill_climatology": skill,
        "skill_gfs": skill,
        "pattern_correlation": 0.9,
    }


class Run:
    """A run of one forecast, stored as the validator stores it."""

    def __init__(
        self,
        state: ForecastState = ForecastState.SCORED,
        reasons: Mapping[tuple[str, int], str] | None = None,
        given_up: Sequence[tuple[str, int]] = (),
        leads: Sequence[tuple[str, int]] = (("day1", 12), ("final", 24), ("final", 48)),
    ) -> None:
        self.components = [
            a_component_row(
                measured(SKILLS.get((kind, hours, field), 0.5)), kind=kind, lead_hours=hours, field=field
            )
            for kind, hours in leads
            if (kind, hours) not in (reasons or {}) and (kind, hours) not in given_up
            for field in FIELDS
        ]
        self.leads = [
            LeadRow(
                run_id=RUN,
                hotkey=Hotkey("5Miner"),
                rule_set="gaia-2.9",
                kind=kind,
                lead_hours=hours,
                score=math.nan if (kind, hours) in given_up else self.score_of(kind, hours, reasons or {}),
                reason="no truth" if (kind, hours) in given_up else (reasons or {}).get((kind, hours)),
                cpu_s=None,
            )
            for kind, hours in leads
        ]
        self.state = state
        self.score = self.scored()

    def score_of(self, kind: str, hours: int, reasons: Mapping[tuple[str, int], str]) -> float:
        if (kind, hours) in reasons:
            return RULES.worst
        return self.lead(kind, hours, FIELDS)

    def lead(self, kind: str, hours: int, fields: Sequence[str]) -> float:
        found = [
            Component(field=each.field, lead_hours=hours, **each.measures)  # type: ignore[arg-type]
            for each in self.components
            if (each.kind, each.lead_hours) == (kind, hours) and each.field in fields
        ]
        return RULES.day1_score(found) if kind == "day1" else RULES.lead_score(found, fields)

    def scored(self) -> WindowScore:
        known = {(row.kind, row.lead_hours): row.score for row in self.leads}
        total = total_of(RULES, known, CONTRACT, self.state)
        return WindowScore(
            updated_at=None,
            run_id=RUN,
            completed=True,
            hotkey=Hotkey("5Miner"),
            uid=1,
            registered_at=0,
            state=self.state,
            overall=total.overall,
            leads=total.leads,
        )

    def stored(self, **changes: Any) -> StoredRun:
        summary: dict[str, Any] = {
            "run_id": RUN,
            "init_time": MOMENT,
            "rule_set": "gaia-2.9",
            "state": RunState.COMPLETED,
            "opened_at": MOMENT,
            "completed_at": MOMENT,
            "contract": CONTRACT,
            "forecasts": 1,
            "unfrozen": 0,
            "scored": 1,
            "rejected": 0,
            "excused": 0,
            "has_scores": True,
        }
        return StoredRun(
            summary=RunSummary(**summary | changes),
            forecasts=[],
            components=[],
            leads=self.leads,
            scores=[],
            inputs=[],
        )

    def measures(self) -> Components:
        async def rows() -> AsyncIterator[ComponentRow]:
            for row in self.components:
                yield row

        return asyncio.run(components_of(rows()))

    def under(self, **changes: Sequence[Any]) -> Rescored:
        return rescored(self.stored(), self.measures(), [self.score], "gaia-2.9", changes)


CASES = {
    "scored": Run(),
    "open": Run(leads=[("final", 24)]),
    "rejected": Run(state=ForecastState.REJECTED, leads=[("day1", 12)]),
    "excused": Run(state=ForecastState.EXCUSED),
    "forfeited": Run(reasons=WORST_24),
    "given up": Run(given_up=[("day1", 12), ("final", 48)]),
}


@pytest.mark.parametrize("case", CASES)
def test_without_a_change_every_forecast_keeps_its_scores(case: str) -> None:
    run = CASES[case]

    assert run.under() == Rescored(RUN, [run.score])
    assert run.under(final_fields=FIELDS, final_lead_hours=(24, 48)) == Rescored(RUN, [run.score])


def test_lead_that_is_left_out_counts_no_more() -> None:
    (score,) = CASES["scored"].under(final_lead_hours=[24]).scores
    of_24 = CASES["scored"].lead("final", 24, FIELDS)

    assert dict(score.leads) == {24: of_24}
    assert score.overall == pytest.approx(0.95 * of_24 + 0.05)


def test_field_that_is_left_out_counts_no_more() -> None:
    (score,) = CASES["scored"].under(final_fields=["2t"]).scores

    assert dict(score.leads) == {hours: CASES["scored"].lead("final", hours, ["2t"]) for hours in (24, 48)}


def test_day_1_that_is_not_passed_with_fewer_fields_costs_its_bonus() -> None:
    run = Run()
    run.components = [
        replace(row, measures={**row.measures, "skill_gfs": -1.0, "acc": -1.0})
        if (row.kind, row.field) == ("day1", "msl")
        else row
        for row in run.components
    ]
    run.leads = [replace(row, score=run.lead(row.kind, row.lead_hours, FIELDS)) for row in run.leads]
    run.score = run.scored()
    (score,) = run.under(day1_fields=["msl"]).scores

    assert run.score.overall is not None
    assert score.overall == pytest.approx(run.score.overall - 0.05)


def test_forfeited_lead_stays_worst_and_given_up_one_stays_out() -> None:
    (forfeited,) = CASES["forfeited"].under(final_fields=["2t"]).scores
    (given_up,) = CASES["given up"].under(final_fields=["2t"]).scores

    assert forfeited.leads[24] == RULES.worst
    assert set(given_up.leads) == {24}


def test_forecast_without_a_row_stays_without_one() -> None:
    run = CASES["open"]
    unscored = replace(run.score, overall=None, leads={})

    assert rescored(
        run.stored(), run.measures(), [unscored], "gaia-2.9", {"final_fields": ["2t"]}
    ).scores == [unscored]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("final_fields", ["2t", "z500"], "z500 was not scored (final_fields)"),
        ("final_lead_hours", [24, 72], "72 h was not scored (final_lead_hours)"),
        ("day1_fields", ["10u"], "10u was not scored (day1_fields)"),
    ],
)
def test_what_was_not_scored_is_named_and_the_run_left_as_it_was(
    name: str, value: Sequence[Any], problem: str
) -> None:
    run = CASES["scored"]

    assert run.under(**{name: value}) == Rescored(RUN, [run.score], problem)


def test_run_whose_contract_or_measures_are_gone_is_left_as_it_was() -> None:
    run = Run()
    without = rescored(run.stored(contract=None), run.measures(), [run.score], "gaia-2.9", {})
    run.components = run.components[2:]

    assert without == Rescored(RUN, [run.score], "its leads and fields were not recorded")
    assert run.under(final_fields=["2t"]) == Rescored(RUN, [run.score], "measures of it are no longer stored")


def test_last_bit_of_a_stored_score_that_does_not_follow_is_noticed() -> None:
    run = Run()
    assert run.score.overall is not None
    run.score = replace(run.score, overall=math.nextafter(run.score.overall, 1.0))

    assert run.under().problem == "the stored measures do not give 1 of its stored scores"


def test_measure_of_a_newer_release_is_ignored() -> None:
    run = Run()
    run.components = [replace(row, measures={**row.measures, "new": 1.0}) for row in run.components]

    assert run.under().problem == ""
