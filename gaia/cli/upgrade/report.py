"""Prints the plan of an upgrade for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.validator.db.schema.standing import Fit

if TYPE_CHECKING:
    from gaia.cli.upgrade.findings import NameChange, Plan, Stored


def print_plan(plan: Plan, todo: Sequence[str]) -> None:
    """Print what changes, then the numbered list of what the operator must do."""
    tables.print_lines(*_releases(plan))
    _print_database(plan)
    tables.print_lines(*_settings(plan), *_names(plan), *_backup(plan), "")
    if not todo:
        tables.print_lines("Nothing needs you before the start.")
        return
    tables.print_lines("Before you start this release:")
    tables.print_lines(*(f"{number:3}. {sentence}" for number, sentence in enumerate(todo, 1)))


def _releases(plan: Plan) -> Iterator[str]:
    yield f"release    {plan.release}"
    if not plan.earlier.is_known:
        yield "before     unknown; name it with --from"
        return
    since = f", in force since {tables.shown(plan.earlier.since)}" if plan.earlier.since else ""
    is_same = plan.earlier.commit and plan.earlier.commit == plan.release.commit
    yield f"before     {'this release' if is_same else plan.earlier}{since}"


def _print_database(plan: Plan) -> None:
    stored = plan.stored
    if stored is None:
        tables.print_lines(f"database   not read: {plan.stored_error}")
        return
    tables.print_lines(*_database(stored))
    if stored.missing and stored.fit is not Fit.EMPTY:
        tables.print_lines("")
        tables.print_table(
            (">migration", "name", "can be taken back", "others write meanwhile?"),
            [(row.version, row.name, row.can_be_taken_back, row.others_write) for row in stored.missing],
        )
        tables.print_lines("")
    if stored.open_runs:
        tables.print_lines(f"runs       {tables.counted(len(stored.open_runs), 'run')} in work", "")
        tables.print_table(
            ("open run", "rules", "this release knows them"),
            [(run.run_id, run.rule_set, run.is_known) for run in stored.open_runs],
        )
        tables.print_lines("")


def _database(stored: Stored) -> Iterator[str]:
    if stored.fit is Fit.EMPTY:
        yield f"database   empty; the start makes its tables by {len(stored.missing)} migrations"
    elif stored.missing:
        yield f"database   the start applies {tables.counted(len(stored.missing), 'migration')}"
    else:
        yield f"database   the schema is {stored.fit}; the start applies no migration"
    timed = [(row.seconds, row) for row in stored.applied if row.seconds is not None]
    if timed:
        longest_s, longest = max(timed, key=lambda each: each[0])
        total_s = sum(seconds for seconds, _ in timed)
        yield (
            f"           the {len(timed)} before took {total_s:.1f} s; the longest was"
            f" {longest.version} ({longest.name}) with {longest_s:.1f} s"
        )
    if stored.holder:
        yield f"active     {stored.holder} writes to the database now"


def _settings(plan: Plan) -> Iterator[str]:
    count = len(plan.settings_refused)
    yield f"settings   {f'{count} refused' if count else 'all are accepted'}"
    for note in plan.setting_notes:
        yield f"           {note.name} {note.note}"


def _names(plan: Plan) -> Iterator[str]:
    if plan.names_error:
        yield f"names      not compared: {plan.names_error}"
        return
    count = len(plan.names_changed)
    yield f"names      {f'{count} gone or changed' if count else 'none is gone or changed'}"
    for change in plan.names_changed:
        yield f"           {change.kind}: {change.name} {_became(change)}"


def _became(change: NameChange) -> str:
    return "is gone" if change.now is None else f"was {change.was} and is {change.now}"


def _backup(plan: Plan) -> Iterator[str]:
    if plan.backup is None:
        yield "backup     none"
        return
    made = tables.shown(plan.backup.made_at)
    yield f"backup     {plan.backup.folder}, {made}, {plan.backup.age_hours:.1f} h old"
