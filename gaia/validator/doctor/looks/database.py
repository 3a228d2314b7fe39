"""Looks at the database as the validator's role sees it; writes nothing."""

from __future__ import annotations

import asyncio
import os
import struct
from typing import TYPE_CHECKING

import asyncpg

from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.db import history
from gaia.validator.db.access.lease import identity_of
from gaia.validator.db.failures import is_drivers
from gaia.validator.db.schema.catalogue import Drift, drift_of, expected_catalogue, read_catalogue
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.schema.migrating import read_standing
from gaia.validator.db.schema.standing import Fit
from gaia.validator.db.statements import SQL
from gaia.validator.doctor.facts import Server, Session
from gaia.validator.doctor.looks.processes import client_at, command_of, supervisor_of
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
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_MISREAD = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    BufferError,
    struct.error,
)
"""Errors that an address or an answer of a wrong form causes in the driver."""


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
        if not _is_servers(error):
            raise
        if database.is_embedded and _is_absent(error):
            return Trouble("the embedded database does not run; it starts with the validator")
        return Trouble(_said(error, timeout_s))
    try:
        return await _facts(connection, identity_of(data_dir))
    except TimeoutError:
        return Trouble(f"a statement had no answer in {timeout_s:g} s; another session may hold a lock")
    except Exception as error:
        if not _is_servers(error):
            raise
        return Trouble(f"the server lets us in, and then fails: {_words_of(error)}")
    finally:
        connection.terminate()


def _is_servers(error: Exception) -> bool:
    """Return whether an error tells of the server or the way to it; what remains is a bug of ours.

    The driver takes answers apart, and raises plain errors if they make no sense.
    """
    return is_drivers(error) or isinstance(error, _MISREAD)


def _is_absent(error: Exception) -> bool:
    """Return whether nothing listens there."""
    return isinstance(error, FileNotFoundError | ConnectionRefusedError)


async def _facts(connection: Connection, identity: str) -> Server:
    row = await connection.fetchrow(SQL["server_facts"])
    assert row is not None
    others = await connection.fetch(SQL["other_validators"])
    durability = await connection.fetch(SQL["durability"])
    limits = [
        limit
        for limit in (row["role_limit"], row["database_limit"], row["server_limit"])
        if limit != _NO_LIMIT
    ]
    migrations = await _migrations(connection)
    lease = await history.lease(connection)
    return Server(
        version=row["version"],
        encoding=row["encoding"],
        can_create=row["can_create"] or False,
        is_read_only=row["is_read_only"],
        is_standby=row["is_standby"],
        statement_timeout_ms=int(1000 * row["statement_timeout_s"]),
        durability={name: (setting, source) for name, setting, source in durability},
        role=row["role"],
        database=row["database"],
        role_limit=min(limits),
        others=[_session(other["pid"], other["address"], other["port"]) for other in others],
        migrations=migrations,
        drift=await _drift(connection) if migrations == Fit.CURRENT else Drift(),
        stands_by=lease is not None and lease.is_held and lease.holder != identity,
        lease_holder=None if lease is None else lease.name,
    )


def _session(backend: int, address: str, port: int) -> Session:
    is_here = address in _LOOPBACK and port > 0
    pid = client_at(address, port) if is_here else 0
    return Session(
        backend=backend,
        address=address,
        port=port,
        client_pid=pid,
        client=command_of(pid),
        supervisor_pid=supervisor_of(pid, os.geteuid()),
    )


async def _migrations(connection: Connection) -> str:
    standing = await read_standing(connection, read_migrations())
    try:
        standing.require_fit()
    except ConfigurationError as error:
        return error.problem
    return "none" if standing.fit is Fit.EMPTY else str(standing.fit)


async def _drift(connection: Connection) -> Drift:
    return drift_of(await read_catalogue(connection), expected_catalogue())


def _said(error: Exception, timeout_s: float) -> str:
    """Return the first line of the driver's words; an unreadable address might repeat the password."""
    if isinstance(error, TimeoutError):
        return f"the server did not answer in {timeout_s:g} s"
    if not is_drivers(error):
        return "the address is not that of a server"
    return _words_of(error)


def _words_of(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return without_secrets(text.partition("\n")[0]) or type(error).__name__
