"""The reason that is told for a weight is the part of the change that moved it most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from gaia.cli.whatif.stages import (
    NOW,
    Stage,
    miner_changes,
    with_burn,
    with_contrast,
    with_copies_apart,
)
from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.validator.core.weights.inputs import VectorInputs
from gaia.validator.core.weights.rules import Entry
from gaia.validator.core.weights.rules.base import Standing
from gaia.validator.core.weights.vector import Registered, Terms
from gaia.validator.utils.config import Settings


def entry(first: float, second: float) -> Entry:
    return Entry(standing=Standing.DELIVERED, overall=(first + second) / 2, leads={24: first, 48: second})


def a_stage(name: str = NOW, rule: str = "gaia-next", scores: Mapping[str, Entry] | None = None) -> Stage:
    inputs = VectorInputs(
        terms=Terms(rule=rule, burn_fraction=0.5, burn_enabled=True, burn_hotkey="", contrast_gamma=1.3),
        present=Registered(
            uids={"owner": 0, "a": 1, "b": 2, "c": 3}, eligible=frozenset("abc"), owner_hotkey="owner"
        ),
        runs={"r1": scores or {}},
    )
    return Stage(name=name, inputs=inputs)


SCORES = {"a": entry(0.75, 0.5), "b": entry(0.5, 0.25), "c": entry(0.5, 0.25)}


def test_burn_that_changes_is_the_reason_for_every_weight() -> None:
    now = a_stage(scores=SCORES)
    rows = miner_changes([now, with_burn(now, Settings(burn_fraction=0.25).weights)])

    assert next((row.uid, row.why) for row in rows) == (0, "burn")
    assert {row.why for row in rows} == {"burn"}
    assert sum(row.change for row in rows) == pytest.approx(0.0)


def test_parts_that_move_less_are_told_with_their_size() -> None:
    now = a_stage(scores=SCORES)
    then = a_stage("fields and leads", scores=SCORES | {"b": entry(0.5, 0.375)})
    burnt = with_burn(then, Settings(burn_fraction=0.125).weights)
    why = {row.hotkey: row.why for row in miner_changes([now, then, burnt])}

    assert why["owner"] == "burn"
    assert why["a"].startswith("burn; also fields and leads -")


def test_contrast_that_its_rule_ignores_moves_nothing() -> None:
    now = a_stage(scores=SCORES)
    rows = miner_changes([now, with_contrast(now, Settings(contrast_gamma=5.0).weights)])

    assert {(row.change, row.why) for row in rows} == {(0.0, "")}


def test_own_scores_are_told_from_those_of_others_and_the_lead_that_moved_most_is_named() -> None:
    now = a_stage(scores=SCORES)
    then = a_stage("fields and leads", scores=SCORES | {"b": entry(0.5, 0.75)})
    why = {row.hotkey: row.why for row in miner_changes([now, then])}

    assert why["b"] == "fields and leads: mean score 0.3750 -> 0.6250, most at +48 h (+0.5000)"
    assert why["a"] == why["c"] == "fields and leads: scores of others"
    assert why["owner"] == ""


def test_scores_of_two_rule_sets_are_not_subtracted() -> None:
    now = a_stage(rule="gaia-2.9", scores=SCORES)
    then = a_stage("rule set", scores=SCORES | {"a": entry(0.5, 0.25)})
    why = {row.hotkey: row.why for row in miner_changes([now, then])}

    assert why["a"] == "rule set: mean score 0.6250 -> 0.3750, lowest at +48 h (0.2500)"


def test_what_copies_cost_is_a_part_of_its_own() -> None:
    now, then = a_stage(scores=SCORES), a_stage("rule set", scores=SCORES)
    found = FoundCopies(pairs=[("b", "c", 0.98)], committed={"a": 0, "b": 0, "c": 2}, products=[])
    stages = [now, *with_copies_apart(replace(then, inputs=replace(then.inputs, found=found)))]
    rows = {row.hotkey: row for row in miner_changes(stages)}

    assert [stage.name for stage in stages] == [NOW, "rule set", "shared work"]
    assert rows["c"].parts["shared work"] < 0 < rows["b"].parts["shared work"]
    assert rows["c"].why == "shared work: overlap 0.9800 with uid 2"
    for row in rows.values():
        assert sum(row.parts.values()) == pytest.approx(row.change)
    assert with_copies_apart(then) == [then]


def test_stage_without_a_score_has_no_weights_and_each_then_counts_as_0() -> None:
    now = replace(a_stage(), has_scores=False)
    rows = miner_changes([now, a_stage("window", scores=SCORES)])

    assert now.by_uid is None
    assert {row.now for row in rows} == {0.0}
    assert sum(row.then for row in rows) == pytest.approx(1.0)
