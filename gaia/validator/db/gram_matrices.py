"""Table `gram_matrices`: Gram matrices of forecast errors, one row per run and lead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gaia.validator.db.statements import SQL
from gaia.validator.utils.identities import Hotkey, RunId

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class GramMatrix:
    """One lead's Gram matrix, named by its digest, and its hotkeys."""

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


async def scored_without_matrix(
    connection: Connection, run_id: RunId, rule_set: str
) -> dict[int, list[Hotkey]]:
    """Return lead in hours -> forecasts scored there against ERA5, for leads of a run that have no matrix."""
    rows = await connection.fetch(SQL["scored_without_matrix"], run_id, rule_set)
    return {row["lead_hours"]: row["hotkeys"] for row in rows}


async def record_matrix(
    connection: Connection, matrix: GramMatrix, content: bytes | None, now: datetime
) -> None:
    """Store the row of a lead's matrix and what its file holds; an existing row stays."""
    await connection.execute(
        SQL["record_matrix"],
        matrix.run_id,
        matrix.lead_hours,
        matrix.sha256,
        list(matrix.hotkeys),
        now,
        content,
    )


async def content_of(connection: Connection, sha256: str) -> bytes | None:
    """Return what the file of a matrix holds; None if only its file does."""
    found: bytes | None = await connection.fetchval(SQL["matrix_content"], sha256)
    return found


async def without_content(connection: Connection) -> dict[str, int]:
    """Return digest -> number of forecasts, of matrices that only files hold."""
    rows = await connection.fetch(SQL["matrices_without_content"])
    return {row["sha256"]: row["size"] for row in rows}


async def add_content(connection: Connection, sha256: str, content: bytes) -> None:
    """Add what the file of a matrix holds to rows without it."""
    await connection.execute(SQL["add_matrix_content"], sha256, content)


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
