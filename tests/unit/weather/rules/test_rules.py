"""Scores follow the rule set gaia-2.9, and nothing missing is ever left out of a mean."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component
from gaia.tasks.defined_tasks.weather.rules.gaia_2_9 import (
    CLONE_CEILING,
    CLONE_DISTANCE,
    day1_score,
    lead_score,
    overall_score,
)
from gaia.tasks.defined_tasks.weather.variables import ALL_FIELDS
from gaia.validator.utils.settings.contract import LEADS_HOURS

DAY1_FIELDS = ("2t", "msl", "10u", "10v", "z500")


def a_component(field: str = "2t", **changes: float | None) -> Component:
    perfect = Component(
        field=field,
        lead_hours=24,
        rmse=0.0,
        mse=0.0,
        mae=0.0,
        bias=0.0,
        acc=1.0,
        skill_climatology=1.0,
        skill_gfs=1.0,
        pattern_correlation=1.0,
        clone_distance=1e6,
    )
    return replace(perfect, **changes)  # type: ignore[arg-type]


def test_the_rule_set_is_found_by_the_name_in_the_settings() -> None:
    rules = RULE_SETS["gaia-2.9"]

    assert (rules.day1_score, rules.lead_score, rules.overall_score) == (
        day1_score,
        lead_score,
        overall_score,
    )


def test_a_perfect_first_day_scores_one() -> None:
    assert day1_score([a_component(field) for field in DAY1_FIELDS]) == pytest.approx(1.0)


def test_the_first_day_weighs_skill_six_and_correlation_four() -> None:
    components = [a_component(skill_gfs=0.5, acc=0.0), a_component("msl", skill_gfs=-3.0, acc=0.6)]

    assert day1_score(components) == pytest.approx(0.6 * (0.5 + 0.0) / 2 + 0.4 * (0.5 + 0.8) / 2)


def test_a_field_that_looks_like_no_weather_is_left_out_of_the_mean() -> None:
    components = [a_component(skill_gfs=0.5, acc=0.0), a_component("msl", pattern_correlation=0.29)]

    assert day1_score(components) == pytest.approx(0.6 * 0.5 + 0.4 * 0.5)
    assert day1_score([a_component(pattern_correlation=None)]) == 0.0
    assert day1_score([a_component(pattern_correlation=0.3)]) == pytest.approx(1.0)


def test_undefined_skill_and_correlation_are_left_out_of_their_means() -> None:
    undefined = a_component("msl", skill_gfs=None, acc=None)

    assert day1_score([undefined]) == 0.0
    assert day1_score([undefined, a_component(skill_gfs=0.5)]) == pytest.approx(0.6 * 0.5 + 0.4)


@pytest.mark.parametrize("field", sorted(CLONE_DISTANCE))
def test_one_copied_field_holds_the_first_day_below_the_pass_mark(field: str) -> None:
    others = [a_component(other) for other in DAY1_FIELDS if other != field]
    limit = CLONE_DISTANCE[field]

    assert day1_score([a_component(field, clone_distance=limit), *others]) == pytest.approx(1.0)
    assert day1_score([a_component(field, clone_distance=limit * 0.999), *others]) == CLONE_CEILING
    assert day1_score([a_component(field, clone_distance=0.0, acc=-1.0)]) == 0.0


def test_a_field_that_is_left_out_is_no_copy_either() -> None:
    components = [a_component(), a_component("msl", pattern_correlation=0.1, clone_distance=0.0)]

    assert day1_score(components) == pytest.approx(1.0)


def test_no_components_score_nothing() -> None:
    assert day1_score([]) == 0.0


def test_a_perfect_lead_scores_95_hundredths() -> None:
    assert lead_score([a_component(field) for field in ALL_FIELDS], ALL_FIELDS) == pytest.approx(0.95)


def test_without_any_correlation_a_lead_is_worth_its_skill_alone() -> None:
    climatology, other = (
        [a_component(field, skill_climatology=skill, acc=None, mse=4.0) for field in DAY1_FIELDS]
        for skill in (0.0, 0.4)
    )

    assert lead_score(climatology, DAY1_FIELDS) == 0.0
    assert lead_score(other, DAY1_FIELDS) == pytest.approx(0.4)


def test_a_variable_without_correlation_is_left_out_of_that_mean_alone() -> None:
    usual, constant = a_component("2t", acc=0.0, mse=1.0), a_component("msl", acc=None, mse=1.0)

    assert lead_score([usual, constant], ["2t", "msl"]) == pytest.approx(0.6 + 0.3 * 0.5 + 0.1 * 0.5)


def test_a_lead_is_the_weighted_sum_of_skill_correlation_and_closeness() -> None:
    components = [
        a_component("2t", skill_climatology=0.5, acc=0.8, mse=4.0),
        a_component("msl", skill_climatology=-1.0, acc=0.2, mse=90_000.0),
        a_component("10u", skill_climatology=None, acc=0.0, mse=9.0),
    ]

    closeness = (1 / (1 + 2 / 3) + 1 / (1 + 300 / 3) + 1 / (1 + 3 / 3)) / 3
    expected = 0.6 * (0.5 / 3) + 0.3 * (0.9 + 0.6 + 0.5) / 3 + 0.1 * closeness
    assert lead_score(components, ["2t", "msl", "10u"]) == pytest.approx(expected)


def test_levels_are_averaged_by_thickness_before_variables_are() -> None:
    components = [
        a_component("z500", skill_climatology=0.2, acc=0.0, mse=100.0),
        a_component("z850", skill_climatology=0.6, acc=1.0, mse=300.0),
        a_component("z1000", skill_climatology=1.0, acc=0.5, mse=500.0),
        a_component("2t", skill_climatology=1.0, acc=1.0, mse=1.0),
    ]

    # Half intervals at the ends: 175, 250 and 75 of 500 hPa.
    weights = (0.35, 0.5, 0.15)
    skill = sum(w * s for w, s in zip(weights, (0.2, 0.6, 1.0), strict=True))
    acc = sum(w * s for w, s in zip(weights, (0.5, 1.0, 0.75), strict=True))
    rmse = sum(w * s for w, s in zip(weights, (100, 300, 500), strict=True)) ** 0.5
    typical = (rmse + 1.0) / 2
    closeness = (1 / (1 + rmse / typical) + 1 / (1 + 1 / typical)) / 2
    expected = 0.6 * (skill + 1) / 2 + 0.3 * (acc + 1) / 2 + 0.1 * closeness
    assert lead_score(components, ["2t", "z1000", "z500", "z850"]) == pytest.approx(expected)


def test_a_lead_that_lacks_one_expected_field_takes_the_others_with_it() -> None:
    aborted = lead_score([a_component(field) for field in ALL_FIELDS[1:]], ALL_FIELDS)

    assert math.isnan(aborted)
    assert math.isnan(lead_score([], []))
    assert overall_score(0.5, {24: 0.9, 48: aborted}, [24, 48]) == pytest.approx(0.05)


def test_a_perfect_forecast_and_first_day_make_the_whole() -> None:
    leads = dict.fromkeys(LEADS_HOURS, 1.0)

    assert overall_score(1.0, leads, LEADS_HOURS) == pytest.approx(1.0)
    assert overall_score(0.0999, leads, LEADS_HOURS) == pytest.approx(0.95)
    assert overall_score(0.1, {}, LEADS_HOURS) == pytest.approx(0.05)
    assert overall_score(None, {}, LEADS_HOURS) == 0.0


def test_a_missing_lead_counts_as_nothing_and_an_unexpected_one_not_at_all() -> None:
    assert overall_score(None, {24: 0.8, 48: 0.4, 999: 1.0}, [24, 48, 72, 96]) == pytest.approx(0.95 * 0.3)
    assert overall_score(0.5, {}, []) == pytest.approx(0.05)


measures = st.floats(-5.0, 1.0) | st.none()


@given(
    rows=st.lists(
        st.tuples(measures, st.floats(-1.0, 1.0) | st.none(), measures, st.floats(0.0, 1e9)),
        min_size=5,
        max_size=5,
    ),
    order=st.permutations(range(5)),
)
def test_scores_stay_between_nothing_and_one_and_ignore_order(
    rows: list[tuple[float | None, float | None, float | None, float]], order: list[int]
) -> None:
    components = [
        a_component(field, skill_climatology=skill, acc=acc, skill_gfs=gfs, mse=mse, clone_distance=mse)
        for field, (skill, acc, gfs, mse) in zip(DAY1_FIELDS, rows, strict=True)
    ]
    shuffled = [components[index] for index in order]

    for score in (day1_score, lambda given: lead_score(given, DAY1_FIELDS)):
        assert 0.0 <= score(components) <= 1.0
        assert score(shuffled) == pytest.approx(score(components))
