"""gaia-next: what is missing is worst, what is public is worth nothing, and nothing is corrected with the truth."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component
from gaia.tasks.defined_tasks.weather.rules.gaia_next import public_skill

RULES = RULE_SETS["gaia-next"]
FIELDS = ("2t", "msl", "z500", "z850")
LEADS = (24, 48, 72)
PUBLIC = ("mse_gfs", "mse_climatology", "mse_persistence", "mse_blend")


def a_component(field: str = "2t", mse: float = 1.0, **baselines: float | None) -> Component:
    given: dict[str, Any] = dict.fromkeys(PUBLIC, 4.0) | baselines
    return Component(
        field=field,
        lead_hours=24,
        rmse=mse**0.5,
        mse=mse,
        mae=0.0,
        bias=0.0,
        acc=None,
        skill_climatology=None,
        **given,
    )


def test_skill_is_over_the_best_of_the_public_forecasts() -> None:
    assert public_skill(a_component(mse=1.0, mse_persistence=2.0)) == 0.5
    assert public_skill(a_component(mse=1.0, mse_gfs=None, mse_blend=1.0)) == 0.0
    assert public_skill(a_component(mse=0.0)) == 1.0


@pytest.mark.parametrize("mse", [8.0, 1e38, math.inf, math.nan])
def test_no_error_is_worse_than_leaving_the_field_out(mse: float) -> None:
    assert public_skill(a_component(mse=mse)) == -1.0


def test_without_a_baseline_nothing_is_earned() -> None:
    assert (
        public_skill(
            a_component(mse=0.0, mse_gfs=None, mse_climatology=None, mse_persistence=None, mse_blend=None)
        )
        == -1.0
    )


def test_a_perfect_public_forecast_can_be_equalled_not_beaten() -> None:
    assert public_skill(a_component(mse=0.0, mse_gfs=0.0)) == 0.0
    assert public_skill(a_component(mse=1e-9, mse_gfs=0.0)) == -1.0


def test_skill_that_was_corrected_with_the_truth_counts_for_nothing() -> None:
    flattered = Component(
        field="2t",
        lead_hours=24,
        rmse=5.0,
        mse=25.0,
        mae=5.0,
        bias=5.0,
        acc=1.0,
        skill_climatology=1.0,
        skill_gfs=1.0,
        mse_gfs=1.0,
    )

    assert RULES.lead_score([flattered], ["2t"]) == -1.0
    assert RULE_SETS["gaia-2.9"].lead_score([flattered], ["2t"]) == pytest.approx(0.95)


def test_a_missing_field_is_worth_minus_one_in_its_share_of_the_levels() -> None:
    whole = [a_component(field, mse=2.0) for field in FIELDS]

    assert RULES.lead_score(whole, FIELDS) == pytest.approx(0.5)
    # z500 and z850 stand for half of z each, z for a third.
    assert RULES.lead_score(whole[:-1], FIELDS) == pytest.approx((0.5 + 0.5 + (0.5 - 1.0) / 2) / 3)
    assert RULES.lead_score([], FIELDS) == RULES.lead_score(whole, []) == -1.0


def test_the_first_day_earns_nothing() -> None:
    leads = dict.fromkeys(LEADS, 0.25)

    assert RULES.day1_score([a_component(mse=2.0)]) == 0.5
    assert RULES.day1_score([]) == -1.0
    assert (
        RULES.overall_score(1.0, leads, LEADS)
        == RULES.overall_score(None, leads, LEADS)
        == pytest.approx(0.25)
    )


def test_a_forecast_of_no_leads_is_worth_the_worst() -> None:
    assert RULES.worst == RULES.overall_score(1.0, {}, LEADS) == RULES.overall_score(1.0, {}, []) == -1.0


errors = st.floats(0.0, 1e6)


@given(
    mses=st.lists(errors, min_size=len(FIELDS), max_size=len(FIELDS)),
    kept=st.sets(st.sampled_from(FIELDS)),
    order=st.permutations(range(len(FIELDS))),
)
def test_leaving_out_a_field_never_helps_and_order_says_nothing(
    mses: list[float], kept: set[str], order: list[int]
) -> None:
    whole = [a_component(field, mse=mse) for field, mse in zip(FIELDS, mses, strict=True)]
    part = [component for component in whole if component.field in kept]

    score = RULES.lead_score(whole, FIELDS)

    assert -1.0 <= RULES.lead_score(part, FIELDS) <= score + 1e-12 <= 1.0 + 1e-12
    assert RULES.lead_score([whole[place] for place in order], FIELDS) == pytest.approx(score)


@given(scores=st.dictionaries(st.sampled_from(LEADS), st.floats(-1.0, 1.0)), left_out=st.sampled_from(LEADS))
def test_leaving_out_a_lead_never_helps(scores: dict[int, float], left_out: int) -> None:
    part = {lead: score for lead, score in scores.items() if lead != left_out}

    assert RULES.overall_score(None, part, LEADS) <= RULES.overall_score(None, scores, LEADS) + 1e-12


@given(mses=st.lists(errors, min_size=2, max_size=2))
def test_a_smaller_error_never_scores_less(mses: list[float]) -> None:
    better, worse = (RULES.lead_score([a_component(mse=mse)], ["2t"]) for mse in sorted(mses))

    assert better >= worse
