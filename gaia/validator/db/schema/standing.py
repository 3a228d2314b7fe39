"""What a database has of the migrations of this program: a pure comparison, and its sentences."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gaia.validator.db.schema.files import Migration
from gaia.validator.utils.errors import ConfigurationError, ExitCode

ORIGINALS_TABLES: Final = frozenset({"weather_forecast_runs", "weather_miner_responses"})
"""Tables by which a database of the original validator is known."""

_SETTING: Final = "GAIA_DATABASE_URL"


class Fit(StrEnum):
    """How a database fits the migrations of this program."""

    EMPTY = "empty"
    """It has no table."""
    BEHIND = "behind"
    """Migrations are missing; they can be applied."""
    CURRENT = "current"
    NEWER = "newer"
    """A later release has migrated it."""
    ALTERED = "altered"
    """It has a migration in another form than this program."""
    DAMAGED = "damaged"
    """Its record of migrations has a gap."""
    FOREIGN = "foreign"
    """It holds tables, and no record of migrations."""
    ORIGINAL = "original"
    """It is a database of the original validator."""


MISFITS: Final = frozenset({Fit.NEWER, Fit.ALTERED, Fit.DAMAGED, Fit.FOREIGN, Fit.ORIGINAL})
"""Fits with which this program must not write."""


@dataclass(frozen=True, slots=True)
class Applied:
    """One row of the record of migrations."""

    version: int
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How a database fits, and which migrations it lacks."""

    fit: Fit
    missing: tuple[Migration, ...] = ()
    """Missing migrations, lowest version first; () of a misfit."""
    detail: str = ""
    """What of it does not fit: versions, or the name of a table."""

    def require_fit(self) -> None:
        """Raise if this program must not write to the database.

        Raises
        ------
        ConfigurationError
            In one sentence, with the exit code `DATABASE_MISFIT`.
        """
        if self.fit in MISFITS:
            problem, fix = _sentence(self.fit, self.detail)
            raise ConfigurationError(_SETTING, problem, fix, ExitCode.DATABASE_MISFIT)


def standing_of(
    migrations: Sequence[Migration], applied: Sequence[Applied] | None, tables: Collection[str]
) -> Standing:
    """Compare a database with the migrations of this program.

    Parameters
    ----------
    migrations
        Migrations of this program, lowest version first.
    applied
        Record of the database; None: it has none.
    tables
        Names of the tables in the schema that the role writes to.
    """
    if not applied:
        return _without_record(migrations, tables, has_record=applied is not None)
    known = {migration.version: migration for migration in migrations}
    rows = {row.version: row for row in applied}
    newer = sorted(version for version in rows if version > max(known, default=0))
    altered = sorted(
        version for version, row in rows.items() if version in known and known[version].sha256 != row.sha256
    )
    if altered:
        return Standing(Fit.ALTERED, detail=_listed(altered))
    gaps = sorted(set(range(1, max(rows) + 1)) - set(rows))
    if gaps:
        return Standing(Fit.DAMAGED, detail=_listed(gaps))
    if newer:
        names = ", ".join(f"{version} ({rows[version].name})" for version in newer)
        return Standing(Fit.NEWER, detail=f"{names}; this program knows {max(known, default=0)}")
    missing = tuple(migration for migration in migrations if migration.version not in rows)
    return Standing(Fit.BEHIND if missing else Fit.CURRENT, missing)


def _without_record(
    migrations: Sequence[Migration], tables: Collection[str], *, has_record: bool
) -> Standing:
    others = sorted(set(tables) - {"schema_migrations"})
    if ORIGINALS_TABLES & set(others):
        return Standing(Fit.ORIGINAL, detail=min(ORIGINALS_TABLES & set(others)))
    if others:
        return Standing(Fit.DAMAGED if has_record else Fit.FOREIGN, detail=others[0])
    return Standing(Fit.EMPTY, tuple(migrations))


def _listed(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions))


def _sentence(fit: Fit, detail: str) -> tuple[str, str]:
    """Return (problem, remedy)."""
    match fit:
        case Fit.NEWER:
            return (
                f"a later release has migrated the database: it has {detail}",
                "install that release, or take the migrations back with `gaia db rollback`",
            )
        case Fit.ALTERED:
            return (
                f"the database has migration {detail} in a form this program does not know",
                "install the release that made the database, or name another database",
            )
        case Fit.DAMAGED:
            return (
                f"the record of migrations is damaged: it lacks {detail}",
                "restore a backup, or name another database",
            )
        case Fit.ORIGINAL:
            return (
                f"this is a database of the original validator: it holds {detail}",
                "name an empty database, and bring its scores over with `gaia db import-original`",
            )
    return (
        f"the database holds tables that this program did not make, such as {detail}",
        "name an empty database",
    )
