"""What an operator must do before an upgrade follows from what was found."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gaia.cli.upgrade.findings import (
    Backup,
    NameChange,
    Plan,
    PlannedMigration,
    PlannedRun,
    Release,
    Stored,
    actions,
)
from gaia.validator.db.schema.standing import Fit

RULES = "gaia-2.9"
FRESH = Backup(folder="b", made_at=datetime(2026, 3, 25, tzinfo=UTC), age_hours=2.0)


def a_stored(**changes: Any) -> Stored:
    values: dict[str, Any] = {
        "fit": Fit.CURRENT,
        "problem": "",
        "missing": (),
        "applied": (),
        "open_runs": (),
        "holder": "",
    }
    return Stored(**values | changes)


def a_plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "release": Release(version="4.1.0", commit="a" * 40),
        "earlier": Release(version="4.0.0", commit="b" * 40),
        "stored": a_stored(),
        "stored_error": "",
        "settings_refused": (),
        "setting_notes": (),
        "names_changed": (),
        "names_error": "",
        "backup": FRESH,
    }
    return Plan(**values | changes)


def a_migration(version: int, *, can_be_taken_back: bool) -> PlannedMigration:
    return PlannedMigration(
        version=version, name="x", can_be_taken_back=can_be_taken_back, others_write=False
    )


def a_run(rule_set: str, *, is_known: bool = True) -> PlannedRun:
    return PlannedRun(run_id="2026-03-25T00Z", rule_set=rule_set, is_known=is_known)


@pytest.mark.parametrize(
    "plan",
    [
        a_plan(),
        a_plan(names_error="unknown", earlier=Release(version="", commit="")),
        a_plan(stored=a_stored(fit=Fit.BEHIND, missing=[a_migration(16, can_be_taken_back=True)])),
        a_plan(stored=a_stored(open_runs=[a_run(RULES)])),
        a_plan(stored=a_stored(fit=Fit.EMPTY), backup=None),
    ],
    ids=["nothing", "nothing to compare", "a migration", "a run under the same rules", "a first start"],
)
def test_what_the_start_does_by_itself_needs_nobody(plan: Plan) -> None:
    assert actions(plan, RULES) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings_refused": ["GAIA_X: is not a setting; remove it."]}, "GAIA_X: is not a setting"),
        (
            {"stored": None, "stored_error": "no answer"},
            "Let the database be read, and plan again: no answer.",
        ),
        ({"stored": a_stored(fit=Fit.NEWER, problem="it is newer; roll back")}, "it is newer; roll back."),
        (
            {"stored": a_stored(open_runs=[a_run("gaia-1", is_known=False)])},
            "Let the earlier release complete 2026-03-25T00Z",
        ),
        ({"stored": a_stored(open_runs=[a_run("gaia-next")])}, "Set GAIA_RULE_SET=gaia-next until"),
        (
            {"names_changed": [NameChange(kind="metrics", name="gaia_x", was="gauge", now=None)]},
            "1 names that are gone or mean something else (metrics)",
        ),
        ({"backup": None}, "Make one first with `gaia backup create`."),
        (
            {"backup": Backup(folder="b", made_at=FRESH.made_at, age_hours=24.1)},
            "The newest backup is 24 hours old.",
        ),
    ],
)
def test_each_thing_that_needs_the_operator_is_one_sentence(changes: dict[str, Any], words: str) -> None:
    (sentence,) = actions(a_plan(**changes), RULES)

    assert words in sentence


def test_migration_without_a_way_back_is_the_reason_for_the_backup() -> None:
    missing = [a_migration(16, can_be_taken_back=True), a_migration(17, can_be_taken_back=False)]

    (sentence,) = actions(a_plan(stored=a_stored(fit=Fit.BEHIND, missing=missing), backup=None), RULES)

    assert sentence.endswith("Migration 17 cannot be taken back, so only a backup leads back.")


def test_settings_come_first_and_the_backup_last() -> None:
    plan = a_plan(
        settings_refused=["GAIA_X: is not a setting; remove it."],
        stored=a_stored(open_runs=[a_run("gaia-next")]),
        backup=None,
    )

    assert [sentence.split()[0] for sentence in actions(plan, RULES)] == ["GAIA_X:", "Set", "There"]
