"""What the driver can raise, sorted by what helps; nothing of it leaves this package as it is."""

from __future__ import annotations

from typing import Final

import asyncpg

from gaia.validator.utils.errors import OwnFailure


class DatabaseFailure(OwnFailure):
    """The database did not do what it was asked, and time or an operator heals it: wait and ask again."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        """Five letters as PostgreSQL defines them; empty where the server said nothing."""


class ConnectionLost(DatabaseFailure):
    """The connection ended under us; whether a commit under way happened is not known."""


class Conflict(DatabaseFailure):
    """The server undid the transaction in favour of another one: the same again may succeed at once."""


class NoPlace(DatabaseFailure):
    """All connections were in use for as long as we wait."""


class StatementRefused(DatabaseFailure):
    """The server will refuse this statement each time: a bug of ours, or a schema that is not ours.

    It is an `OwnFailure` all the same, since no miner can be made to pay for it: what it
    stops waits, with all that is known of it, for a release or a schema that mends it.
    Each one is logged at error level with its SQLSTATE and counted in `borders.UNFORESEEN`.
    """


REPEATABLE: Final = (Conflict, ConnectionLost)
"""Failures after which the same transaction is worth another attempt at once."""

_CONFLICTS: Final = frozenset({"40001", "40P01", "55P03"})
# The last words of a session: ended by an operator, a crash, a start under way or a limit on idleness.
_FAREWELLS: Final = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"})
# Classes of SQLSTATE. What they have in common: the statement is right, the moment is not.
# 0A, 28, 3D: an operator may be changing a password, a role, a pooler or the name of the database.
_WAITED_OUT: Final = frozenset(
    {"0A", "25", "28", "38", "39", "3D", "40", "53", "55", "57", "58", "72", "F0", "HV", "P0", "XX"}
)
_NO_PRIVILEGE: Final = "42501"
_LONGEST: Final = 500


def is_drivers(error: BaseException) -> bool:
    """Say whether an error came from the driver or from the network below it."""
    return type(error).__module__.partition(".")[0] == "asyncpg" or isinstance(error, OSError | EOFError)


def typed(error: BaseException) -> DatabaseFailure:
    """Return what an error of the driver or the network means to us.

    >>> typed(asyncpg.DeadlockDetectedError("deadlock detected"))
    Conflict('database: DeadlockDetectedError (40P01): deadlock detected')
    """
    code = getattr(error, "sqlstate", None) or ""
    name = f"{type(error).__name__} ({code})" if code else type(error).__name__
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    message = f"database: {name}: {said}"[:_LONGEST]
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
        return StatementRefused  # the driver was called wrongly, as by too few arguments
    if isinstance(error, TimeoutError | asyncpg.ClientConfigurationError):
        return DatabaseFailure
    return ConnectionLost
