"""Failures of the database, sorted by what helps; they replace all errors of the driver."""

from __future__ import annotations

from typing import Final

import asyncpg

from gaia.validator.utils.errors import OwnFailure
from gaia.validator.utils.secrecy import without_secrets
from gaia.validator.utils.tallies import Totals


class DatabaseFailure(OwnFailure):
    """The database failed; time or an operator heals it, so wait and try again."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        """SQLSTATE, five letters; empty if the server gave none."""


class ConnectionLost(DatabaseFailure):
    """The connection ended; it is unknown whether an open commit happened."""


class Conflict(DatabaseFailure):
    """The server rolled back the transaction in favour of another; a repetition may succeed at once."""


class NoPlace(DatabaseFailure):
    """All connections were in use during the whole wait."""


class LeaseLost(DatabaseFailure):
    """Another validator writes to the database, or may do so; nothing of this transaction was written."""


class StatementRefused(DatabaseFailure):
    """The server always refuses this statement: a bug of ours, or a wrong schema.

    It is an `OwnFailure` too, because no miner may pay for it. What it stops waits for a release or
    a schema that corrects it. Each is logged as an error with its SQLSTATE, and counted in
    `borders.UNFORESEEN`.
    """


FAILURES: Final = Totals(
    kind.__name__ for kind in (ConnectionLost, Conflict, NoPlace, StatementRefused, DatabaseFailure)
)
"""Name of a failure above -> number of transactions that ended with it in this process."""

REPEATABLE: Final = (Conflict, ConnectionLost)
"""Failures after which the same transaction is tried again at once."""

_CONFLICTS: Final = frozenset({"40001", "40P01", "55P03"})
# Ends of a session: by an operator, a crash, a server that starts, or a limit on idleness.
_FAREWELLS: Final = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"})
# Classes of SQLSTATE in which the statement is right but the moment is wrong.
# 0A, 28, 3D: an operator may be changing a password, a role, a pooler or the name of the database.
_WAITED_OUT: Final = frozenset(
    {"0A", "25", "28", "38", "39", "3D", "40", "53", "55", "57", "58", "72", "F0", "HV", "P0", "XX"}
)
_NO_PRIVILEGE: Final = "42501"
_LONGEST: Final = 500


def is_drivers(error: BaseException) -> bool:
    """Return whether an error came from the driver or the network."""
    return type(error).__module__.partition(".")[0] == "asyncpg" or isinstance(error, OSError | EOFError)


def typed(error: BaseException) -> DatabaseFailure:
    """Return our failure for an error of the driver or the network.

    >>> typed(asyncpg.DeadlockDetectedError("deadlock detected"))
    Conflict('database: DeadlockDetectedError (40P01): deadlock detected')
    """
    code = getattr(error, "sqlstate", None) or ""
    name = f"{type(error).__name__} ({code})" if code else type(error).__name__
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    # A server, or a proxy before it, may repeat our password in its answer.
    message = without_secrets(f"database: {name}: {said}")[:_LONGEST]
    return _kind(error, code)(message, code)


def _kind(error: BaseException, code: str) -> type[DatabaseFailure]:
    if code in _CONFLICTS:
        return Conflict
    if code in _FAREWELLS or code.startswith("08"):
        return ConnectionLost
    if code == _NO_PRIVILEGE or code[:2] in _WAITED_OUT:
        return DatabaseFailure
    if code:
        return StatementRefused
    if isinstance(error, asyncpg.InterfaceError) and "clos" not in str(error):
        return StatementRefused  # wrong use of the driver, such as too few arguments
    if isinstance(error, TimeoutError | asyncpg.ClientConfigurationError):
        return DatabaseFailure
    return ConnectionLost
