"""The products of the errors of leads: what is to be made, what is kept, what is let go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadProducts:
    """One kept file of products."""

    run_id: str
    lead_hours: int
    sha256: str
    hotkeys: Sequence[str]
    """In the order of the products."""


async def settled_hotkeys(
    connection: Connection, run_id: str, lead_hours: int, rule_set: str
) -> list[str] | None:
    """Forecasts scored at a lead that is settled and has no products; None: it is not, or has them."""
    found: list[str] | None = await connection.fetchval(
        SQL["finalised_hotkeys"], run_id, lead_hours, rule_set
    )
    return found


async def record_products(connection: Connection, products: LeadProducts, now: datetime) -> None:
    """Keep what a lead's products are; the first time stays."""
    await connection.execute(
        SQL["record_matrix"],
        products.run_id,
        products.lead_hours,
        products.sha256,
        list(products.hotkeys),
        now,
    )


async def products_of(connection: Connection, run_ids: Sequence[str]) -> list[LeadProducts]:
    """The kept products of `run_ids`, in order of run and lead."""
    return [LeadProducts(**row) for row in await connection.fetch(SQL["matrices_of_runs"], list(run_ids))]


async def forget_products(connection: Connection, rule_set: str, window: timedelta) -> set[str]:
    """Let go of products of runs older than `window` before the newest scored one's; return the digests left."""
    await connection.execute(SQL["forget_matrices"], rule_set, window)
    return {row["sha256"] for row in await connection.fetch(SQL["matrix_digests"])}


async def committed_after(
    connection: Connection, run_ids: Sequence[str], window: timedelta
) -> dict[tuple[str, str], timedelta]:
    """(run, hotkey) -> how long after the run opened the forecast was committed, if it was.

    What we were late ourselves is not counted; `window` is the freeze window without it.
    """
    rows = await connection.fetch(SQL["committed_after"], list(run_ids), window)
    return {(row["run_id"], row["hotkey"]): row["after"] for row in rows}


async def kept_leads(connection: Connection) -> set[tuple[str, int]]:
    """(run, lead in hours) of all products."""
    return {(row["run_id"], row["lead_hours"]) for row in await connection.fetch(SQL["matrix_leads"])}
