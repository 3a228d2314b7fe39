"""Table `gram_matrices`: Gram matrices of forecast errors, one row per run and lead; files hold the values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gaia.validator.db.statements import SQL
from gaia.validator.utils.identities import RunId

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class GramMatrix:
    """The file of one lead's Gram matrix, and its hotkeys."""

    run_id: RunId
    lead_hours: int
    sha256: str
    hotkeys: Sequence[str]
    """Hotkeys in the order of the rows."""


async def finalised_hotkeys(
    connection: Connection, run_id: RunId, lead_hours: int, rule_set: str
) -> list[str] | None:
    """Return the forecasts scored at a finalised lead without a matrix; None for any other lead."""
    found: list[str] | None = await connection.fetchval(
        SQL["finalised_hotkeys"], run_id, lead_hours, rule_set
    )
    return found


async def record_matrix(connection: Connection, matrix: GramMatrix, now: datetime) -> None:
    """Store the row of a lead's matrix; an existing row stays."""
    await connection.execute(
        SQL["record_matrix"],
        matrix.run_id,
        matrix.lead_hours,
        matrix.sha256,
        list(matrix.hotkeys),
        now,
    )


async def matrices_of(connection: Connection, run_ids: Sequence[str]) -> list[GramMatrix]:
    """Return the matrices of `run_ids`, in order of run and lead."""
    return [GramMatrix(**row) for row in await connection.fetch(SQL["matrices_of_runs"], list(run_ids))]


async def forget_matrices(connection: Connection, rule_set: str, window: timedelta) -> set[str]:
    """Delete the rows of runs that are more than `window` older than the newest scored run; return the digests left."""
    await connection.execute(SQL["forget_matrices"], rule_set, window)
    return {row["sha256"] for row in await connection.fetch(SQL["matrix_digests"])}


async def committed_after(
    connection: Connection, run_ids: Sequence[str], window: timedelta
) -> dict[tuple[str, str], timedelta]:
    """Return (run, hotkey) -> time between the opening of the run and the commitment, if there was one.

    Lateness of ours is not counted; `window` is the freeze window without extensions.
    """
    rows = await connection.fetch(SQL["committed_after"], list(run_ids), window)
    return {(row["run_id"], row["hotkey"]): row["after"] for row in rows}


async def kept_leads(connection: Connection) -> set[tuple[str, int]]:
    """Return (run, lead in hours) of all matrices."""
    return {(row["run_id"], row["lead_hours"]) for row in await connection.fetch(SQL["matrix_leads"])}
