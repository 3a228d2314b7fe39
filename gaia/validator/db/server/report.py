"""Reads what a report about a problem says of the database server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


async def server_report(connection: Connection) -> dict[str, Any]:
    """Return the server's version, the applied migrations, and statistics of tables and sessions."""
    version = await connection.fetchrow(SQL["server_version"])
    return {
        "server": dict(version or {}),
        "migrations": [dict(row) for row in await connection.fetch(SQL["applied_migrations"])],
        "tables": [dict(row) for row in await connection.fetch(SQL["table_statistics"])],
        "sessions": [dict(row) for row in await connection.fetch(SQL["session_statistics"])],
    }
