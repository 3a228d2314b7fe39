"""Reads what the sessions of the database server wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.validator.db.rows import BlockedRow
from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


async def blocked(connection: Connection) -> list[BlockedRow]:
    """Return the sessions that wait for a lock of another session, longest first."""
    return [BlockedRow(**row) for row in await connection.fetch(SQL["blocked_sessions"])]
