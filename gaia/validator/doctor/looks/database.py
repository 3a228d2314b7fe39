"""Looks at the database as the validator's role sees it; writes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg

from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.core.database_setup import missing_migrations, read_migrations, was_set_up
from gaia.validator.db.failures import is_drivers
from gaia.validator.db.statements import SQL
from gaia.validator.doctor.facts import Server
from gaia.validator.doctor.sight import Trouble
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.secrecy import without_secrets

if TYPE_CHECKING:
    from pathlib import Path

    from gaia.validator.db.connection import Connection
    from gaia.validator.utils.settings.database import DatabaseSettings
    from gaia.validator.utils.settings.files import FilesSettings

_CONNECT_S = 5.0
_NO_LIMIT = -1


def look_at_server(database: DatabaseSettings, files: FilesSettings) -> Server | Trouble:
    """Return the state of the configured server, or of the embedded one if it runs."""
    return asyncio.run(_look(database, files.data_dir))


async def _look(database: DatabaseSettings, data_dir: Path) -> Server | Trouble:
    dsn = database.dsn(embedded_dsn(data_dir))
    timeout_s = min(database.database_timeout_s, _CONNECT_S)
    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=timeout_s,
            command_timeout=timeout_s,
            server_settings={"application_name": "gaia-doctor"},
        )
    except Exception as error:
        if not is_drivers(error) and not isinstance(error, ValueError):
            raise
        if database.is_embedded and _is_absent(error):
            return Trouble("the embedded database does not run; it starts with the validator")
        return Trouble(_said(error, timeout_s))
    try:
        return await _facts(connection)
    except TimeoutError:
        return Trouble(f"a statement had no answer in {timeout_s:g} s; another session may hold a lock")
    finally:
        connection.terminate()


def _is_absent(error: Exception) -> bool:
    """Return whether nothing listens there."""
    return isinstance(error, FileNotFoundError | ConnectionRefusedError)


async def _facts(connection: Connection) -> Server:
    row = await connection.fetchrow(SQL["server_facts"])
    assert row is not None
    others = await connection.fetch(SQL["other_validators"])
    limits = [
        limit
        for limit in (row["role_limit"], row["database_limit"], row["server_limit"])
        if limit != _NO_LIMIT
    ]
    return Server(
        version=row["version"],
        encoding=row["encoding"],
        can_create=row["can_create"] or False,
        is_read_only=row["is_read_only"],
        is_standby=row["is_standby"],
        statement_timeout_ms=int(1000 * row["statement_timeout_s"]),
        is_durable=row["is_durable"],
        role=row["role"],
        database=row["database"],
        role_limit=min(limits),
        others=[(other["pid"], other["address"], other["port"]) for other in others],
        migrations=await _migrations(connection),
    )


async def _migrations(connection: Connection) -> str:
    if not await was_set_up(connection):
        return "none"
    try:
        missing = await missing_migrations(connection, read_migrations())
    except ConfigurationError as error:
        return error.problem
    return "behind" if missing else "current"


def _said(error: Exception, timeout_s: float) -> str:
    """Return the first line of the driver's words; an unreadable address might repeat the password."""
    if isinstance(error, TimeoutError):
        return f"the server did not answer in {timeout_s:g} s"
    if not is_drivers(error):
        return "the address is not that of a server"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return without_secrets(text.partition("\n")[0]) or type(error).__name__
