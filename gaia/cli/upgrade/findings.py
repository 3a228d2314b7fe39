"""What the plan of an upgrade says, and which of it the operator must act on; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gaia.validator.db.schema.standing import Fit

FRESH_FOR: Final = timedelta(hours=24)
"""Age up to which a backup is good enough for an upgrade."""
MAKE_BACKUP: Final = "gaia backup create"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release of this program."""

    version: str
    """"" if unknown."""
    commit: str
    """Full commit, or as much of it as `--from` named; "" if unknown."""
    since: datetime | None = None
    """When it was last started on the data folder, or read its settings again; None if unknown."""

    @property
    def is_known(self) -> bool:
        return bool(self.version or self.commit)

    def __str__(self) -> str:
        number = self.version or "of unknown version"
        return f"{number} (commit {self.commit[:12]})" if self.commit else number


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMigration:
    """A migration that the next start applies."""

    version: int
    name: str
    can_be_taken_back: bool
    others_write: bool
    """Whether others may write meanwhile: it makes an index beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedMigration:
    """A migration that the database has, and how long it took there."""

    version: int
    name: str
    seconds: float | None
    """None: an earlier release applied it, which did not keep that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """An open run, which this release is to complete."""

    run_id: str
    rule_set: str
    is_known: bool
    """Whether this release has these rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the database holds that decides about an upgrade."""

    fit: Fit
    problem: str
    """Why the database does not fit this release, and what helps; "" if it fits."""
    missing: Sequence[PlannedMigration]
    applied: Sequence[AppliedMigration]
    open_runs: Sequence[PlannedRun]
    holder: str
    """The validator that holds the lease, and so may write now; "" if none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingNote:
    """Something about a setting that is no reason to act."""

    name: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NameChange:
    """A name on which an operator may have built, and which this release does not have as it was."""

    kind: str
    """Such as "metrics" or "exit codes"."""
    name: str
    was: str
    """What else was fixed about it, such as the number of an exit code; "" if nothing."""
    now: str | None
    """The same in this release; None: the name is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """The newest backup."""

    folder: str
    made_at: datetime
    age_hours: float

    @property
    def is_fresh(self) -> bool:
        return self.age_hours <= FRESH_FOR / timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an upgrade changes."""

    release: Release
    """This one."""
    earlier: Release
    """The one that the operator comes from."""
    stored: Stored | None
    stored_error: str
    """Why the database was not read; "" if it was."""
    settings_refused: Sequence[str]
    """One sentence for each setting that this release does not take."""
    setting_notes: Sequence[SettingNote]
    names_changed: Sequence[NameChange]
    names_error: str
    """Why the names of the two releases were not compared; "" if they were."""
    backup: Backup | None


def actions(plan: Plan, rule_set: str) -> list[str]:
    """Return what the operator must do before the start, in the order in which to do it.

    Parameters
    ----------
    rule_set
        The active rules of the settings.
    """
    return [
        *plan.settings_refused,
        *_of_database(plan),
        *_of_runs(plan, rule_set),
        *_of_names(plan),
        *_of_backup(plan),
    ]


def _of_database(plan: Plan) -> Iterator[str]:
    if plan.stored is None:
        yield f"Let the database be read, and plan again: {plan.stored_error}."
    elif plan.stored.problem:
        yield f"Make the database fit this release: {plan.stored.problem}."


def _of_runs(plan: Plan, rule_set: str) -> Iterator[str]:
    runs = plan.stored.open_runs if plan.stored else ()
    for name in sorted({run.rule_set for run in runs if not run.is_known or run.rule_set != rule_set}):
        opened = [run for run in runs if run.rule_set == name]
        ids = ", ".join(run.run_id for run in opened)
        if opened[0].is_known:
            yield (
                f"Set GAIA_RULE_SET={name} until {ids} is complete: it opened under {name}, and {rule_set}"
                " would score what is left of it."
            )
        else:
            yield (
                f"Let the earlier release complete {ids}: this release does not know the rules {name}, and"
                f" {rule_set} would score what is left of it."
            )


def _of_names(plan: Plan) -> Iterator[str]:
    if plan.names_changed:
        kinds = ", ".join(sorted({change.kind for change in plan.names_changed}))
        yield (
            f"Change what you have built on {len(plan.names_changed)} names that are gone or mean something"
            f" else ({kinds}): alerts, panels, scripts."
        )


def _of_backup(plan: Plan) -> Iterator[str]:
    if plan.stored is not None and plan.stored.fit is Fit.EMPTY:
        return
    if plan.backup is None:
        yield f"There is no backup. Make one first with `{MAKE_BACKUP}`.{_why_backup(plan)}"
    elif not plan.backup.is_fresh:
        yield (
            f"The newest backup is {plan.backup.age_hours:.0f} hours old. Make one with `{MAKE_BACKUP}`."
            f"{_why_backup(plan)}"
        )


def _why_backup(plan: Plan) -> str:
    final = [row for row in plan.stored.missing if not row.can_be_taken_back] if plan.stored else []
    if not final:
        return ""
    versions = ", ".join(str(row.version) for row in final)
    return f" Migration {versions} cannot be taken back, so only a backup leads back."
