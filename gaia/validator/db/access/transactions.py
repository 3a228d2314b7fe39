"""Transactions and savepoints of one connection: their begin, their end in bounded time, and their lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog

from gaia.validator.db.failures import ConnectionLost, LeaseLost, is_drivers, typed
from gaia.validator.db.statements import SQL
from gaia.validator.utils.borders import UNFORESEEN, Party
from gaia.validator.utils.errors import GaiaError

if TYPE_CHECKING:
    from asyncpg.transaction import Transaction

    from gaia.validator.db.connection import Connection

log = structlog.get_logger(__name__)

_LONGEST_UNDOING_S: Final = 5.0
"""Seconds for a rollback; a living server needs less, and a dead one must not hold a connection."""


@asynccontextmanager
async def savepoint(connection: Connection) -> AsyncIterator[None]:
    """Yield inside a savepoint: an error rolls back to it, and the outer transaction continues.

    Raises
    ------
    DatabaseFailure
        If the database failed; the outer transaction continues only after `StatementRefused`.
    """
    try:
        async with begun(connection):
            yield
    except Exception as error:
        if not is_drivers(error):
            raise
        raise typed(error) from error


@asynccontextmanager
async def begun(connection: Connection, *, readonly: bool = False) -> AsyncIterator[None]:
    """Begin a transaction or a savepoint; commit it at the end, or roll it back in bounded time."""
    transaction = connection.transaction(readonly=readonly)
    try:
        await transaction.start()
        yield
        await transaction.commit()
    except GeneratorExit:
        connection.terminate()  # no caller is left to wait for the rollback
        raise
    except BaseException as error:
        was_lost = connection.is_closed()
        await _undo(connection, transaction)
        is_unnamed = isinstance(error, Exception) and not (is_drivers(error) or isinstance(error, GaiaError))
        if was_lost and is_unnamed:
            # The driver raises arbitrary errors if a connection ends during its work.
            UNFORESEEN[Party.DATABASE] += 1
            kind = type(error).__name__
            log.error(
                "unforeseen_error",
                party=Party.DATABASE,
                error=str(error),
                exc_info=error,
                once=("database", kind),
            )
            raise ConnectionLost(f"database: {type(error).__name__}: {error}") from error
        raise


async def hold(connection: Connection, token: int) -> None:
    """Raise `LeaseLost` unless the lease has `token`; nobody takes it over before the transaction ends."""
    if await connection.fetchval(SQL["hold_lease"], token) is None:
        raise LeaseLost("another validator has taken the database over")


async def _undo(connection: Connection, transaction: Transaction) -> None:
    """Roll back on the connection; terminate it if that fails or takes too long.

    The driver waits without limit for a cancelled statement before it rolls back.
    """
    is_undone = False
    try:
        async with asyncio.timeout(_LONGEST_UNDOING_S):
            await transaction.rollback()
        is_undone = True
    except Exception as error:
        if not is_drivers(error):
            raise
    finally:
        if not is_undone:
            connection.terminate()
