"""Reads the scores in a database of the original validator, which is never changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from gaia.cli.database.original.plan import OriginalScore
from gaia.validator.db.connection import Database
from gaia.validator.db.statements import ORIGINALS_SQL
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from gaia.validator.utils.secrecy import hold, secrets_in_url

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection

SETTING: Final = "URL"
SESSION: Final = "gaia-import"

_LEADS: Final = range(24, 241, 24)
_COLUMNS: Final = {
    "weather_forecast_runs": {"id", "gfs_init_time_utc", "run_initiation_time"},
    "weather_forecast_stats": {
        "run_id",
        "miner_uid",
        "miner_hotkey",
        "forecast_score_initial",
        "overall_forecast_score",
        "updated_at",
        *(f"era5_score_{lead}h" for lead in _LEADS),
    },
}
"""Table -> columns that are read."""


async def read_original(
    url: str, *, ours: datetime | None, window: timedelta, timeout_s: float
) -> list[OriginalScore]:
    """Return the original's scores of the runs in the window, from one read-only snapshot.

    Parameters
    ----------
    url
        Address of the original's database.
    ours
        Initial time of our newest scored run; None: we have none.
    window
        Length of the window, which ends at the newest scored run of either database.
    timeout_s
        Seconds to wait for a connection.

    Raises
    ------
    ConfigurationError
        If the address is none, no server answers, it is no database of the original, or the window has no scores.
    DatabaseFailure
        If the server fails, or the role may not read the tables.
    """
    hold(secrets_in_url(url))
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError(
            SETTING, "it is not a PostgreSQL URL", "write postgresql://user:password@host:port/name"
        )
    async with _snapshot(url, timeout_s) as connection:
        await _require_original(connection)
        newest = await connection.fetchval(ORIGINALS_SQL["newest_init_time"])
        end = max((moment for moment in (newest, ours) if moment is not None), default=None)
        rows = [] if end is None else await connection.fetch(ORIGINALS_SQL["scores_after"], end - window)
    if not rows:
        raise _misfit(_empty(newest, ours, window), "nothing needs to be taken over: start the validator")
    return [msgspec.convert(dict(row), OriginalScore) for row in rows]


@asynccontextmanager
async def _snapshot(url: str, timeout_s: float) -> AsyncIterator[Connection]:
    """Yield a connection in a read-only transaction that sees one state of the database."""
    try:
        database = await Database.connect(
            url, timeout_s=timeout_s, pool_size=1, setting=SETTING, name=SESSION
        )
    except ConfigurationError as error:
        raise ConfigurationError(
            SETTING, error.problem, "start the original's PostgreSQL, or correct the address", error.exit_code
        ) from error
    try:
        async with (
            database.alone(SESSION) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection
    finally:
        await database.close()


async def _require_original(connection: Connection) -> None:
    rows = await connection.fetch(ORIGINALS_SQL["columns"], list(_COLUMNS))
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["table_name"], set()).add(row["column_name"])
    for table, columns in _COLUMNS.items():
        if table not in found:
            raise _misfit(
                f"this is no database of the original validator: it lacks {table}",
                "name the original's database, by default validator_db",
            )
        if missing := sorted(columns - found[table]):
            raise _misfit(
                f"this is of a release of the original that is not known: {table} lacks {', '.join(missing)}",
                "bring the original up to 2.9.96, or begin without its scores",
            )


def _empty(newest: datetime | None, ours: datetime | None, window: timedelta) -> str:
    if newest is None:
        return "the database holds no scores"
    days = window / timedelta(days=1)
    reach = "" if ours is None else f", and the {days:g} days up to our newest run, of {ours:%Y-%m-%d}, count"
    return f"the newest scores are of {newest:%Y-%m-%d}{reach}"


def _misfit(problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(SETTING, problem, remedy, ExitCode.DATABASE_MISFIT)
