"""gaia-2.9 equals an independent transcription of the network's scoring, section 3, to 1e-9.

The transcription is plain numpy, written from the document alone, and imports nothing it is held against.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component
from gaia.tasks.defined_tasks.weather.rules.base import in_turn
from gaia.tasks.defined_tasks.weather.variables import LEVELS_HPA
from gaia.validator.core.weights.vector import Terms, registered, weights_of
from gaia.validator.utils.chain.metagraph import Metagraph, Neuron
from gaia.validator.utils.identities import Hotkey

RULES = RULE_SETS["gaia-2.9"]
DAY1 = ("2t", "msl", "10u", "10v", "z500")
SURFACE = ("2t", "msl", "10u", "10v")
FINAL = (*SURFACE, *(f"{name}{level}" for name in "tuvqz" for level in LEVELS_HPA))
LEADS = tuple(range(24, 241, 24))
NAN = float("nan")


# The transcription: None of the program is written as NaN here.


def section_3_1_levels(levels: list[int]) -> Any:
    p = np.array(levels, float)
    if len(p) == 1:
        return np.ones(1)
    w = np.empty(len(p))
    w[1:-1] = (p[2:] - p[:-2]) / 2
    w[0], w[-1] = (p[1] - p[0]) / 2, (p[-1] - p[-2]) / 2
    return w / w.sum()


def section_3_3_day1(rows: list[dict[str, Any]]) -> float:
    delta = {"2t": 0.0025, "msl": 400.0, "10u": 0.01, "10v": 0.01, "z500": 100.0}
    skills, accs, clamped = [], [], False
    for row in rows:
        if not row["pattern_correlation"] >= 0.3:
            continue
        skill, d = row["skill_gfs"], row["clone_distance"]
        if row["field"] in delta and d < delta[row["field"]]:
            skill = skill - 1.0 * (1 - d / delta[row["field"]])
            clamped = True
        if np.isfinite(skill):
            skills.append(max(0.0, skill))
        if np.isfinite(row["acc"]):
            accs.append((row["acc"] + 1) / 2)
    score = 0.6 * (np.mean(skills) if skills else 0) + 0.4 * (np.mean(accs) if accs else 0)
    score = float(np.clip(score, 0, 1))
    return min(score, 0.05) if clamped else score


def section_3_4_lead(rows: list[dict[str, Any]], expected: tuple[str, ...]) -> float | None:
    """The score of a lead; None where the whole aggregation is aborted."""
    by_name = {row["field"]: row for row in rows}
    if any(name not in by_name for name in expected):
        return None
    variables: dict[str, list[int]] = {}
    for name in expected:
        if name in SURFACE:
            variables[name] = []
        else:
            variables.setdefault(name[0], []).append(int(name[1:]))
    skills, accs, rmses = [], [], []
    for variable, unordered in variables.items():
        levels = sorted(unordered)
        w = section_3_1_levels(levels) if levels else np.ones(1)
        of = [by_name[f"{variable}{level}"] for level in levels] if levels else [by_name[variable]]
        skills.append(np.clip(w @ np.nan_to_num([row["skill_climatology"] for row in of], nan=0.0), 0, 1))
        accs.append(w @ np.array([row["acc"] for row in of]))
        rmses.append(np.sqrt(w @ np.array([row["mse"] for row in of])))
    skill_n = np.mean(skills)
    accs = [acc for acc in accs if not np.isnan(acc)]
    if not accs:
        return float(skill_n)
    acc_n = np.mean([(acc + 1) / 2 for acc in accs])
    ref = np.median(rmses)
    rmse_n = np.mean([1 / (1 + (rmse / ref if ref > 0 else 1)) for rmse in rmses])
    return float(np.clip(0.6 * skill_n + 0.3 * acc_n + 0.1 * rmse_n, 0, 1))


def section_3_4_overall(day1: float, leads: dict[int, float | None]) -> float:
    passed = 1.0 if day1 >= 0.1 else 0.0
    if any(score is None for score in leads.values()):
        return 0.05 * passed
    norm = sum(score for score in leads.values() if score is not None) / 10
    return float(np.clip(0.95 * norm + 0.05 * passed, 0, 1))


def sections_3_5_and_3_6(rows: np.ndarray, *, is_node: np.ndarray, burn_uid: int, burn: float) -> np.ndarray:
    """Rows of score_table (run, 256) to weights (256,), the two safety deviations made."""
    table = np.nan_to_num(rows, nan=0.0)
    for row in table:
        best = row.max()
        winners = np.flatnonzero(row == best)
        if best >= 0.7 and len(winners) <= 2:
            row[winners] += 0.05 / len(winners)
    table = np.clip(table, 0, 1.1)
    mean = table.mean(axis=0) * is_node if len(table) else np.zeros(256)
    weights = np.zeros(256)
    nz = np.flatnonzero(mean > 0)
    if len(nz) == 0:
        weights[burn_uid] = 1.0
        return weights
    x = mean[nz] / mean.max()
    unique = np.unique(x)
    m = np.percentile(unique if len(unique) >= 3 else x, 80)
    w = 0.98 / np.power(1 + 8 * np.exp(-70 * (x - m)), 1 / 0.3) + 0.01 * x
    if np.std(w) / np.mean(w) < 0.03:
        w = w * x**1.3
    weights[nz] = w / w.sum()
    weights *= 1 - burn
    weights[burn_uid] += burn
    return weights


# What both are given


def a_component(field: str, lead: int, **measures: float | None) -> Component:
    given: dict[str, Any] = {
        "rmse": 1.0,
        "mse": 1.0,
        "mae": 1.0,
        "bias": 0.0,
        "acc": 0.5,
        "skill_climatology": 0.5,
    }
    given |= {"skill_gfs": 0.2, "pattern_correlation": 0.9, "clone_distance": 1e6} | measures
    return Component(field=field, lead_hours=lead, **given)


def members(component: Component) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(component, name)) for name in component.__slots__)


def as_nan(components: list[Component]) -> list[dict[str, Any]]:
    return [{name: NAN if value is None else value for name, value in members(c)} for c in components]


maybe = st.floats(-5.0, 1.0) | st.none()
correlation = st.floats(-1.0, 1.0) | st.none()
errors = st.floats(0.0, 1e10) | st.just(0.0)


@given(
    measures=st.lists(
        st.tuples(maybe, correlation, correlation, st.sampled_from([0.0, 1e-3, 0.0024, 0.0025, 50.0, 1e6])),
        min_size=5,
        max_size=5,
    ),
    delivered=st.sets(st.sampled_from(DAY1)),
)
def test_day1_scores_are_those_of_the_document(measures: list[Any], delivered: set[str]) -> None:
    components = [
        a_component(field, 12, skill_gfs=skill, acc=acc, pattern_correlation=pattern, clone_distance=distance)
        for field, (skill, acc, pattern, distance) in zip(DAY1, measures, strict=True)
        if field in delivered
    ]

    assert abs(RULES.day1_score(components) - section_3_3_day1(as_nan(components))) < 1e-9


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), undefined=st.sampled_from([0.0, 0.02, 0.5, 1.0]), missing=st.booleans())
def test_lead_and_overall_scores_are_those_of_the_document(
    seed: int, undefined: float, missing: bool
) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = {}, {}
    for lead in LEADS[: int(rng.integers(0, 11))]:
        components = [
            a_component(
                field,
                lead,
                mse=float(rng.choice([0.0, rng.exponential(1e4)])),
                acc=None if rng.random() < undefined else float(rng.uniform(-1, 1)),
                skill_climatology=None if rng.random() < undefined else float(rng.uniform(-3, 1)),
            )
            for field in FINAL
            if not (missing and rng.random() < 0.002)
        ]
        ours[lead] = RULES.lead_score(components, FINAL)
        theirs[lead] = section_3_4_lead(as_nan(components), FINAL)
        expected = theirs[lead]
        assert np.isnan(ours[lead]) if expected is None else abs(ours[lead] - expected) < 1e-9
    day1 = float(rng.choice([0.0, 0.0999999, 0.1, 0.9]))

    assert abs(RULES.overall_score(day1, ours, LEADS) - section_3_4_overall(day1, theirs)) < 1e-9


def test_the_reference_values_of_the_document_hold() -> None:
    perfect = [a_component(field, 24, mse=0.0, acc=1.0, skill_climatology=1.0) for field in FINAL]
    climatology = [a_component(field, 24, acc=None, skill_climatology=0.0) for field in FINAL]

    assert RULES.lead_score(perfect, FINAL) == pytest.approx(0.95, abs=1e-12)
    assert RULES.lead_score(climatology, FINAL) == 0.0


@pytest.mark.parametrize(
    "case", ["random", "clustered", "only uid 0", "all equal", "two equal", "none", "nan", "no run"]
)
@pytest.mark.parametrize("seed", range(5))
def test_weights_are_those_of_the_document(case: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = {
        "random": rng.uniform(0, 1, (15, 256)) * (rng.random((1, 256)) < 0.8),
        "clustered": 0.6 + 1e-3 * rng.uniform(0, 1, (15, 256)),
        "only uid 0": np.where(np.arange(256) == 0, rng.uniform(0.1, 1, (15, 1)), 0.0),
        "all equal": np.full((15, 256), 0.5),
        "two equal": np.where(np.arange(256) < 2, 0.8, 0.0) * np.ones((15, 1)),
        "none": np.zeros((15, 256)),
        "nan": np.where(rng.random((15, 256)) < 0.5, NAN, rng.uniform(0, 1, (15, 256))),
        "no run": np.zeros((0, 256)),
    }[case]
    offline = rng.random(256) < 0.1
    offline[0] = False
    metagraph = a_metagraph(offline)

    weights = weights_of(
        [
            {f"hotkey-{uid}": 0.0 if math.isnan(score) else score for uid, score in enumerate(row.tolist())}
            for row in rows
        ],
        registered(metagraph),
        Terms(
            rule="gaia-2.9",
            burn_fraction=0.75,
            burn_enabled=True,
            burn_hotkey="hotkey-99",
            contrast_gamma=1.3,
        ),
    )

    assert weights is not None
    ours = np.array([weights.get(uid, 0.0) for uid in range(256)])
    theirs = sections_3_5_and_3_6(rows, is_node=~offline, burn_uid=99, burn=0.75)
    assert np.abs(ours - theirs).max() < 1e-9
    if case == "only uid 0":
        # The live network would give this quarter to a uid written into its code.
        assert ours[0] == pytest.approx(0.25)


def a_metagraph(offline: np.ndarray) -> Metagraph:
    return Metagraph(
        netuid=57,
        block=10_000,
        neurons=[
            Neuron(
                uid=uid,
                hotkey=Hotkey(f"hotkey-{uid}"),
                coldkey="",
                ip="" if offline[uid] else "127.0.0.1",
                port=1,
                stake=0.0,
                validator_permit=False,
                last_update=0,
                registered_at=0,
            )
            for uid in range(256)
        ],
        own_hotkey="validator",
        own_uid=None,
        tempo=360,
        epoch=10,
        next_epoch_block=None,
        weights_rate_limit=100,
        min_allowed_weights=1,
        weights_version=0,
        commit_reveal=False,
        owner_hotkey="owner",
    )


def test_scores_are_summed_alike_by_every_python() -> None:
    # Since Python 3.12 `sum` keeps what each step loses.
    assert in_turn([1.0, 1e-16, 1e-16]) == 1.0
