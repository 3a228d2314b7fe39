"""The products of the errors of leads: what is to be made, what is kept, what is let go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

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


SQL: Final[Mapping[str, str]] = {
    # Forecasts of a lead that were really scored, once nobody is left who delivers and is not scored
    # there, and while the lead has no products.
    "settled": "SELECT array_agg(scored.hotkey ORDER BY scored.hotkey) FROM lead_scores scored"
    " WHERE scored.run_id = $1 AND scored.lead_hours = $2 AND scored.rule_set = $3 AND scored.kind = 'final'"
    " AND scored.reason IS NULL AND NOT EXISTS (SELECT FROM forecasts WHERE forecasts.run_id = $1"
    " AND forecasts.state NOT IN ('rejected', 'excused') AND NOT EXISTS (SELECT FROM lead_scores own"
    " WHERE own.run_id = $1 AND own.hotkey = forecasts.hotkey AND own.rule_set = $3 AND own.kind = 'final'"
    " AND own.lead_hours = $2)) AND NOT EXISTS (SELECT FROM lead_products WHERE lead_products.run_id = $1"
    " AND lead_products.lead_hours = $2)",
    # Keep the products of a lead; the first ones stay.
    "record_products": "INSERT INTO lead_products (run_id, lead_hours, sha256, hotkeys, made_at)"
    " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    # The products of some runs.
    "products": "SELECT run_id, lead_hours, sha256, hotkeys FROM lead_products WHERE run_id = ANY($1::text[])"
    " ORDER BY run_id, lead_hours",
    # Runs that are open.
    "open": "SELECT run_id FROM runs WHERE state = 'open'",
    # Let go of the products of runs that have left the window.
    "forget": "DELETE FROM lead_products USING runs WHERE runs.run_id = lead_products.run_id AND runs.init_time <="
    " (SELECT max(init_time) FROM runs JOIN score_table USING (run_id) WHERE score_table.rule_set = $1)"
    " - $2::interval",
    # The files that are still meant.
    "meant": "SELECT DISTINCT sha256 FROM lead_products",
    # How long after a run opened each forecast was bound, less our absence, which moved the end of its window.
    "bound": "SELECT run_id, hotkey, coalesce(frozen_round, frozen_at) - opened_at"
    " - coalesce(window_ends_at - opened_at - $2::interval, interval '0') AS after FROM forecasts"
    " WHERE run_id = ANY($1::text[]) AND frozen_at IS NOT NULL ORDER BY run_id, hotkey",
    # The leads whose products are kept.
    "kept": "SELECT run_id, lead_hours FROM lead_products",
}


async def settled_hotkeys(
    connection: Connection, run_id: str, lead_hours: int, rule_set: str
) -> list[str] | None:
    """Forecasts scored at a lead that is settled and has no products; None: it is not, or has them."""
    found: list[str] | None = await connection.fetchval(SQL["settled"], run_id, lead_hours, rule_set)
    return found


async def record_products(connection: Connection, products: LeadProducts, now: datetime) -> None:
    """Keep what a lead's products are; the first time stays."""
    await connection.execute(
        SQL["record_products"],
        products.run_id,
        products.lead_hours,
        products.sha256,
        list(products.hotkeys),
        now,
    )


async def products_of(connection: Connection, run_ids: Sequence[str]) -> list[LeadProducts]:
    """The kept products of `run_ids`, in order of run and lead."""
    return [LeadProducts(**row) for row in await connection.fetch(SQL["products"], list(run_ids))]


async def open_run_ids(connection: Connection) -> set[str]:
    return {row["run_id"] for row in await connection.fetch(SQL["open"])}


async def forget_products(connection: Connection, rule_set: str, window: timedelta) -> set[str]:
    """Let go of products of runs older than `window` before the newest scored one's; return the digests left."""
    await connection.execute(SQL["forget"], rule_set, window)
    return {row["sha256"] for row in await connection.fetch(SQL["meant"])}


async def bound_after(
    connection: Connection, run_ids: Sequence[str], window: timedelta
) -> dict[tuple[str, str], timedelta]:
    """(run, hotkey) -> how long after the run opened the forecast was bound, if it was.

    What we were late ourselves is not counted; `window` is the freeze window without it.
    """
    rows = await connection.fetch(SQL["bound"], list(run_ids), window)
    return {(row["run_id"], row["hotkey"]): row["after"] for row in rows}


async def kept_leads(connection: Connection) -> set[tuple[str, int]]:
    """(run, lead in hours) of all products."""
    return {(row["run_id"], row["lead_hours"]) for row in await connection.fetch(SQL["kept"])}
