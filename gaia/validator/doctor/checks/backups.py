"""Checks of the backups: their place, the programs that make them, and their age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from gaia.validator.doctor.findings import Check, Finding, Group, failure, ok, skipped, warning
from gaia.validator.doctor.sight import Trouble, seen
from gaia.validator.doctor.steps import do, run

if TYPE_CHECKING:
    from gaia.validator.doctor.facts import Facts

_INTERVALS: Final = 3
"""So many intervals without a backup are too many."""


def _folder(facts: Facts) -> Finding:
    backups = seen(facts.backups)
    if not backups.problem:
        return ok(f"backups can be stored in {backups.path}")
    return failure(
        f"no backup can be stored in {backups.path}: {backups.problem}",
        *(
            facts.given.unset("backup_dir")
            or (do("let the user of the validator write there, or set GAIA_BACKUP_DIR"),)
        ),
    )


def _programs(facts: Facts) -> Finding:
    found, wanted = seen(facts.backups).programs_major, _server_major(facts)
    if wanted is None:
        return skipped("the version of the server is not known")
    if found is not None and found >= wanted:
        return ok(f"pg_dump of PostgreSQL {found} is there")
    there = "there is none" if found is None else f"the newest is of PostgreSQL {found}"
    return failure(
        f"no pg_dump can read PostgreSQL {wanted}: {there}",
        do(f"install the package postgresql-client-{wanted}, or set PG_BINDIR to the folder of its programs"),
    )


def _server_major(facts: Facts) -> int | None:
    """Return the major version of the server, or of the embedded one's files; None: not known."""
    if not isinstance(facts.server, Trouble):
        return facts.server.version // 10_000
    version = "" if isinstance(facts.folder, Trouble) else facts.folder.cluster_version
    return int(version) if version.isdigit() else None


def _age(facts: Facts) -> Finding:
    backups, settings = seen(facts.backups), seen(facts.settings)
    if not settings.backup_every_hours:
        return skipped("GAIA_BACKUP_EVERY_HOURS is 0, so the validator makes no backup")
    if backups.newest is None:
        return ok(
            f"there is no backup yet; the first is made {settings.backup_every_hours:g} h after the first run"
        )
    age = datetime.now(UTC) - backups.newest
    said = f"the newest of {backups.number} backups is {age / timedelta(hours=1):.0f} h old"
    if age <= _INTERVALS * timedelta(hours=settings.backup_every_hours):
        return ok(said)
    return warning(
        f"{said}, and GAIA_BACKUP_EVERY_HOURS is {settings.backup_every_hours:g}",
        run("gaia", "backup", "create"),
    )


_F = Group.FILES
CHECKS = (
    Check("backup-folder", _F, "backups can be stored", "`GAIA_BACKUP_DIR`", _folder),
    Check(
        "backup-programs", Group.DATABASE, "pg_dump fits the server", "its package, `PG_BINDIR`", _programs
    ),
    Check("backup-age", _F, "the newest backup is not old", "`gaia backup create`", _age),
)
