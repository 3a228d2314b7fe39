"""Every error that the driver can raise is one of ours, and says what helps."""

import asyncio
import inspect
import ssl
from typing import Any

import asyncpg
import pytest

from gaia.validator.db.failures import (
    Conflict,
    ConnectionLost,
    DatabaseFailure,
    StatementRefused,
    is_drivers,
    typed,
)
from gaia.validator.db.storable import LONGEST_TEXT, storable, storable_text
from gaia.validator.utils.errors import OwnFailure, TransientError

DRIVERS = sorted(
    {
        value
        for value in vars(asyncpg.exceptions).values()
        if inspect.isclass(value) and issubclass(value, Exception)
    },
    key=lambda kind: kind.__name__,
)
NETWORKS = [
    OSError(5, "Input/output error"),
    ConnectionResetError(104, "Connection reset by peer"),
    BrokenPipeError(),
    TimeoutError(),
    ssl.SSLError(1, "wrong version number"),
    ssl.SSLCertVerificationError(1, "self-signed certificate"),
    asyncio.IncompleteReadError(b"", 5),
    EOFError(),
]


def test_the_driver_has_the_errors_we_think_of() -> None:
    assert len(DRIVERS) > 250


@pytest.mark.parametrize("kind", DRIVERS)
def test_error_of_the_driver_is_a_failure_of_ours_that_names_it(kind: type[Exception]) -> None:
    error = kind("words of the server")

    failure = typed(error)

    assert is_drivers(error)
    assert isinstance(failure, DatabaseFailure)
    assert kind.__name__ in str(failure)
    # A warning keeps its words elsewhere; no server raises one.
    assert "words of the server" in str(failure) or issubclass(kind, asyncpg.PostgresLogMessage)
    assert failure.sqlstate == (getattr(kind, "sqlstate", None) or "")
    assert failure.sqlstate in str(failure)


@pytest.mark.parametrize("error", NETWORKS, ids=lambda error: type(error).__name__)
def test_error_of_the_network_is_a_failure_of_ours(error: Exception) -> None:
    assert is_drivers(error)
    assert isinstance(typed(error), DatabaseFailure)


def test_failure_of_the_database_is_ours_and_time_heals_it() -> None:
    assert issubclass(DatabaseFailure, OwnFailure)
    assert issubclass(DatabaseFailure, TransientError)


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [
        (asyncpg.SerializationError, Conflict),
        (asyncpg.DeadlockDetectedError, Conflict),
        (asyncpg.LockNotAvailableError, Conflict),
        (asyncpg.AdminShutdownError, ConnectionLost),
        (asyncpg.CrashShutdownError, ConnectionLost),
        (asyncpg.CannotConnectNowError, ConnectionLost),
        (asyncpg.ConnectionDoesNotExistError, ConnectionLost),
        (asyncpg.IdleInTransactionSessionTimeoutError, ConnectionLost),
        (asyncpg.InternalClientError, ConnectionLost),
        (ConnectionResetError, ConnectionLost),
        (asyncio.IncompleteReadError, ConnectionLost),
        (asyncpg.QueryCanceledError, DatabaseFailure),
        (asyncpg.StatementCompletionUnknownError, DatabaseFailure),
        (asyncpg.TooManyConnectionsError, DatabaseFailure),
        (asyncpg.OutOfMemoryError, DatabaseFailure),
        (asyncpg.DiskFullError, DatabaseFailure),
        (asyncpg.PostgresIOError, DatabaseFailure),
        (asyncpg.ReadOnlySQLTransactionError, DatabaseFailure),
        (asyncpg.InFailedSQLTransactionError, DatabaseFailure),
        (asyncpg.DataCorruptedError, DatabaseFailure),
        (asyncpg.InternalServerError, DatabaseFailure),
        (asyncpg.FeatureNotSupportedError, DatabaseFailure),
        (asyncpg.InvalidCachedStatementError, DatabaseFailure),
        (asyncpg.InvalidPasswordError, DatabaseFailure),
        (asyncpg.InvalidCatalogNameError, DatabaseFailure),
        (asyncpg.InsufficientPrivilegeError, DatabaseFailure),
        (TimeoutError, DatabaseFailure),
        (asyncpg.UndefinedTableError, StatementRefused),
        (asyncpg.UndefinedColumnError, StatementRefused),
        (asyncpg.PostgresSyntaxError, StatementRefused),
        (asyncpg.UniqueViolationError, StatementRefused),
        (asyncpg.ForeignKeyViolationError, StatementRefused),
        (asyncpg.CheckViolationError, StatementRefused),
        (asyncpg.DataError, StatementRefused),
        (asyncpg.UntranslatableCharacterError, StatementRefused),
    ],
)
def test_errors_are_sorted_by_what_helps(kind: type[Exception], meaning: type[DatabaseFailure]) -> None:
    error = kind(b"", 1) if kind is asyncio.IncompleteReadError else kind("words")

    assert type(typed(error)) is meaning


def test_error_of_nobody_we_know_is_not_the_drivers() -> None:
    assert not is_drivers(ValueError("no"))
    assert not is_drivers(KeyError("no"))


@pytest.mark.parametrize("said", ["a\x00b", "a\ud800b", "x" * 10**6, "\x00" * 5000])
def test_words_of_a_miner_become_words_that_can_be_stored(said: str) -> None:
    stored = storable_text(said)

    stored.encode()
    assert "\x00" not in stored
    assert len(stored) <= LONGEST_TEXT


def test_ordinary_words_are_stored_as_they_are() -> None:
    assert storable_text("refused: busy") == "refused: busy"
    assert storable({"diagnosis": ["2t: 1.0 finite", 3, None, 0.5]}) == {
        "diagnosis": ["2t: 1.0 finite", 3, None, 0.5]
    }


def test_evidence_of_any_shape_becomes_small_and_storable() -> None:
    value: dict[str, Any] = {}
    deep = value
    for _ in range(50):
        value["\x00"] = value = {}
    evidence = {"deep": deep, "wide": ["x" * 9000] * 9000, "odd": float("nan"), "half": "\udfff"}

    stored = storable(evidence)

    assert len(str(stored)) < 600_000
    assert stored["odd"] == "nan"
    assert stored["half"] == "?"
    assert "\x00" not in str(stored)
