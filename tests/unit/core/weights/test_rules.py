"""gaia-next pays skill that is sure, smoothly, whoever has which uid, and each piece of work once."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaia.tasks.defined_tasks.weather.rules import RULE_SETS
from gaia.validator.core.weights.rules import WEIGHT_RULES, Copies, Entry
from gaia.validator.core.weights.rules.base import Standing
from gaia.validator.core.weights.rules.gaia_next import lower_bound, lower_confidence_skill, rewards

RULE = WEIGHT_RULES["gaia-next"]
Runs = list[dict[str, float | None]]


def shares(runs: Runs, copies: Copies | None = None) -> dict[str, float]:
    hotkeys = {hotkey for run in runs for hotkey in run}
    return RULE.shares(runs, hotkeys, 1.3, copies or Copies())


def an_entry(standing: Standing = Standing.DELIVERED, **leads: float) -> Entry:
    return Entry(
        standing=standing, overall=0.0, leads={int(lead[1:]): score for lead, score in leads.items()}
    )


def same(*hotkeys: str, part: float = 1.0) -> dict[str, dict[str, float]]:
    return {one: {other: 1.0 if one == other else part for other in hotkeys} for one in hotkeys}


def test_every_rule_set_has_the_weight_rule_of_its_name() -> None:
    assert WEIGHT_RULES.keys() == RULE_SETS.keys()


def test_a_run_counts_by_the_leads_that_are_scored_for_everybody_who_delivered() -> None:
    entries = {
        "a": an_entry(l24=0.4, l48=0.2),
        "b": an_entry(l24=0.2),
        "late": an_entry(Standing.AWAITED),
        "rejected": an_entry(Standing.REJECTED, l24=0.9),
        "excused": an_entry(Standing.EXCUSED),
    }

    assert RULE.run_scores(entries) == {"a": 0.4, "b": 0.2, "late": -1.0, "rejected": -1.0, "excused": None}


def test_a_run_without_settled_leads_says_nothing() -> None:
    assert RULE.run_scores({"a": an_entry(l24=0.4), "b": an_entry()}) == {}
    assert RULE.run_scores({"a": an_entry(Standing.REJECTED)}) == {}
    assert shares([{}, {"a": 0.4}]) == {"a": 1.0}


def test_pay_is_proportional_to_sure_skill() -> None:
    runs: Runs = [{"a": 0.4, "b": 0.2, "idle": 0.0}] * 9

    paid = shares(runs)

    assert paid.keys() == {"a", "b"}
    assert paid["a"] / paid["b"] == pytest.approx(lower_bound([0.4] * 9) / lower_bound([0.2] * 9))


def test_there_is_no_step() -> None:
    a_little_less = shares([{"a": 0.4, "b": 0.4 - 1e-6, "c": 0.3}] * 9)

    assert a_little_less["a"] == pytest.approx(a_little_less["b"], rel=1e-5)


def test_how_others_rank_changes_only_the_division() -> None:
    with_better = shares([{"a": 0.4, "b": 0.2, "best": 0.9}] * 9)
    with_worse = shares([{"a": 0.4, "b": 0.2, "bad": 0.1}] * 9)

    assert with_better["a"] / with_better["b"] == pytest.approx(with_worse["a"] / with_worse["b"])


def test_a_newcomer_earns_less_than_who_has_shown_the_same_for_longer() -> None:
    before: Runs = [{"old": 0.3}] * 10
    together: Runs = [{"old": 0.3, "new": 0.3}] * 5

    paid = shares(before + together)

    assert paid["new"] < paid["old"] / 3


@pytest.mark.parametrize("skill", [0.05, 0.1, 0.3, 0.6])
def test_a_fresh_hotkey_earns_less_than_half_of_what_the_old_one_would_have(skill: float) -> None:
    kept, fresh, failed = _over_a_window(skill, 0.0), _fresh_over_a_window(skill), _over_a_window(skill, -1.0)

    assert fresh < kept / 2
    # Only who has hardly any skill gets over a run that was missed sooner in this way.
    assert fresh < failed or skill <= 0.1


def _over_a_window(skill: float, bad: float) -> float:
    aged = ([{"a": skill}] * (14 - age) + [{"a": bad}] + [{"a": skill}] * age for age in range(1, 15))
    return sum(lower_confidence_skill(runs, "a") for runs in aged)


def _fresh_over_a_window(skill: float) -> float:
    aged = ([{"other": 0.0}] * (15 - age) + [{"b": skill}] * age for age in range(1, 15))
    return sum(lower_confidence_skill(runs, "b") for runs in aged)


def test_absence_after_the_first_run_is_the_worst_and_an_excuse_is_nothing() -> None:
    assert lower_confidence_skill([{"a": 0.5}, {}, {"a": 0.5}], "a") == 0.0
    assert (
        lower_confidence_skill([{"a": 0.5}, {"a": None}, {"a": 0.5}], "a")
        == lower_confidence_skill([{"a": 0.5}] * 2, "a")
        > 0.4
    )
    assert lower_confidence_skill([{"a": None}], "a") == lower_confidence_skill([{"b": 1.0}], "a") == 0.0


def test_where_nobody_is_better_than_public_forecasts_nobody_earns() -> None:
    assert shares([{"a": 0.0, "b": -0.5}] * 9) == {}
    assert shares([]) == {}


def test_equal_copies_share_one_reward() -> None:
    runs: Runs = [{"a": 0.4, "b": 0.4, "c": 0.4}] * 9

    paid = shares(runs, Copies(overlap=same("b", "c"), committed={"a": 1.0, "b": 1.0, "c": 1.0}))

    assert paid == {hotkey: pytest.approx(part) for hotkey, part in (("a", 0.5), ("b", 0.25), ("c", 0.25))}


def test_the_work_belongs_to_who_was_bound_to_it_first() -> None:
    copies = Copies(
        overlap=same("first", "later", "better"), committed={"first": 0.0, "later": 1.0, "better": 2.0}
    )

    paid = rewards({"first": 0.3, "later": 0.3, "better": 0.4}, copies)

    assert paid == {"first": 0.3, "later": 0.0, "better": pytest.approx(0.1)}


def test_a_copy_that_earns_nothing_costs_its_victim_nothing() -> None:
    early = Copies(overlap=same("victim", "spoiler"), committed={"spoiler": 0.0, "victim": 1.0})
    tied = Copies(overlap=same("victim", "spoiler"))

    for copies in (early, tied):
        assert rewards({"victim": 0.3, "spoiler": 0.0}, copies)["victim"] == 0.3


@given(
    part=st.floats(0.05, 1.0),
    count=st.integers(1, 40),
    tied=st.booleans(),
)
def test_many_copies_never_earn_more_than_one_over_their_overlap(part: float, count: int, tied: bool) -> None:
    names = [f"{number}" for number in range(count)]
    committed = {name: 0.0 if tied else float(name) for name in names}

    paid = rewards(dict.fromkeys(names, 0.3), Copies(overlap=same(*names, part=part), committed=committed))

    assert sum(paid.values()) <= 0.3 / part * (1 + 1e-9)


scores = st.floats(-1.0, 1.0)


@given(values=st.lists(scores, min_size=1, max_size=20), place=st.integers(0, 19), better=scores)
def test_a_better_run_never_lowers_the_bound(values: list[float], place: int, better: float) -> None:
    place %= len(values)
    raised = [max(value, better) if number == place else value for number, value in enumerate(values)]

    assert lower_bound(raised) >= lower_bound(values) - 1e-12


@given(values=st.lists(scores, min_size=2, max_size=15), place=st.integers(0, 14))
def test_to_stay_away_from_a_run_never_helps(values: list[float], place: int) -> None:
    place = 1 + place % (len(values) - 1)
    there: Runs = [{"a": value} for value in values]
    away: Runs = [{} if number == place else run for number, run in enumerate(there)]
    # Somebody else was there, so the run took place.
    for run in (*there, *away):
        run.setdefault("other", 0.0)

    assert lower_confidence_skill(away, "a") <= lower_confidence_skill(there, "a") + 1e-12


@given(
    runs=st.lists(
        st.dictionaries(st.sampled_from("abcdef"), scores | st.none(), min_size=1), min_size=1, max_size=6
    ),
    order=st.permutations("abcdef"),
    overlap=st.floats(0.0, 1.0),
)
def test_who_has_which_name_says_nothing(runs: Runs, order: list[str], overlap: float) -> None:
    new_name = dict(zip("abcdef", order, strict=True))
    copies = Copies(overlap=same(*"abcdef", part=overlap), committed=dict.fromkeys("abcdef", 0.0))

    paid = shares(runs, copies)
    renamed = shares([{new_name[hotkey]: score for hotkey, score in run.items()} for run in runs], copies)

    assert renamed == {new_name[hotkey]: pytest.approx(part) for hotkey, part in paid.items()}
    assert not paid or math.fsum(paid.values()) == pytest.approx(1.0)
