"""Parts of large tables, made ahead and removed when they are old; and manifests of old runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection
    from gaia.validator.utils.identities import RunId

_LOCK_WAIT: Final = "2s"
"""How long we wait for a lock; whoever comes after us waits as long."""


def day_of(moment: datetime) -> str:
    """Return the day of a moment, as run ids begin.

    >>> from datetime import UTC
    >>> day_of(datetime(2026, 12, 31, 18, tzinfo=UTC))
    '2026-12-31'
    """
    return f"{moment:%Y-%m-%d}"


async def make_score_days(connection: Connection, first: str, before: str) -> Sequence[str]:
    """Make the parts for scores of all days before one; return their names.

    If there is none yet, the first part holds all that is older than `first`.
    """
    await connection.execute(SQL["brief_locks"], _LOCK_WAIT)
    made: Sequence[str] = await connection.fetchval(SQL["make_score_days"], first, before)
    return made


async def drop_score_days(connection: Connection, before: str) -> Sequence[str]:
    """Remove the scores of days before one, unless a run of theirs or of before is open; return the names of parts."""
    await connection.execute(SQL["brief_locks"], _LOCK_WAIT)
    dropped: Sequence[str] = await connection.fetchval(SQL["drop_score_days"], before)
    return dropped


async def newest_run(connection: Connection) -> datetime | None:
    """Return the initial time of the newest run; None: there is none."""
    moment: datetime | None = await connection.fetchval(SQL["newest_run"])
    return moment


async def runs_with_old_manifests(
    connection: Connection, before: datetime, completed: datetime, most: int
) -> list[RunId]:
    """Return runs of before a moment, completed before another, that have manifests still, oldest first."""
    rows = await connection.fetch(SQL["runs_with_old_manifests"], before, completed, most)
    return [row["run_id"] for row in rows]


async def remove_matrix_contents(connection: Connection, before: datetime) -> None:
    """Remove the copies of Gram matrices of completed runs of before a moment."""
    await connection.execute(SQL["remove_matrix_contents"], before)


async def remove_manifests(connection: Connection, run_id: RunId) -> None:
    """Remove what miners signed for one completed run; the digests stay."""
    await connection.execute(SQL["remove_manifests"], run_id)
