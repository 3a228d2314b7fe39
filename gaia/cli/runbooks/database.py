"""Runbooks about the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gaia.cli.runbooks import shared
from gaia.cli.runbooks.branch import Branch, Runbook
from gaia.cli.tables import one_line
from gaia.validator.core.status.troubles import ago
from gaia.validator.db.access.lease import identity_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gaia.cli.runbooks.facts import Facts


_FULL: Final = ("too many clients", "too many connections", "remaining connection slots")
"""Words of PostgreSQL that refuse a further session."""


def _all_in_use(facts: Facts) -> str:
    active, most = facts.total("gaia_db_connections_active"), facts.total("gaia_db_connections_max")
    if not most or active is None or active < 0.75 * most:
        return ""
    return f"{active:.0f} of {most:.0f} connections are in use"


def _failed(kind: str) -> Callable[[Facts], str]:
    def look(facts: Facts) -> str:
        count = facts.total("gaia_db_failures_total", kind=kind)
        return f"{count:.0f} since the start" if count else ""

    return look


def _server_full(facts: Facts) -> str:
    is_full = any(words in facts.database_error for words in _FULL)
    return one_line(facts.database_error) if is_full else ""


def _held_elsewhere(facts: Facts) -> str:
    lease = facts.rows.lease if facts.rows else None
    if lease is None or not lease.is_held or lease.holder == identity_of(facts.data_dir):
        return ""
    return f"{one_line(lease.name)} holds it since {lease.taken_at:%Y-%m-%d %H:%MZ}"


def _held_by_nobody(facts: Facts) -> str:
    lease = facts.rows.lease if facts.rows else None
    if lease is None or lease.is_held:
        return ""
    return f"it ended {ago(-lease.seconds_left)} ago; {one_line(lease.name)} had it last"


SERVER_FULL = Branch(
    sentence="The database server has no connection left.",
    remedy="End the sessions of the program that holds them. Else raise `max_connections` of the server.",
    look=_server_full,
)
ALL_IN_USE = Branch(
    sentence="The pool of connections is too small for the work.",
    remedy="Raise `GAIA_DATABASE_POOL_SIZE`, if the server allows that many connections.",
    look=_all_in_use,
)
REFUSED = Branch(
    sentence="The database refuses statements.",
    remedy="The schema may be of another release: restart, which brings it up to date. Else report what `gaia logs --event statement_refused` prints.",
    look=_failed("StatementRefused"),
)
NO_PLACE = Branch(
    sentence="Transactions waited in vain for a connection.",
    remedy="See whether a session blocks others. Else raise `GAIA_DATABASE_POOL_SIZE`.",
    look=_failed("NoPlace"),
)
LOST = Branch(
    sentence="Connections to the database were lost.",
    remedy="Look into the log of the server: it was restarted, ran out of memory, or ended the sessions.",
    look=_failed("ConnectionLost"),
)
OTHERWISE = Branch(
    sentence="The database is overloaded, or its disk fails.",
    remedy="Look into the log of the server, and at its disk and load.",
    look=_failed("DatabaseFailure"),
)

HELD_ELSEWHERE = Branch(
    sentence="Another validator holds the lease.",
    remedy=(
        "If it is to be active, add it to the targets in `prometheus.yml`, in the same job."
        " Else stop it, and this one takes over at once."
    ),
    look=_held_elsewhere,
)
HELD_BY_NOBODY = Branch(
    sentence="The lease has ended, and nobody takes it.",
    remedy=(
        "Read `gaia logs --event lease_not_looked_at`: it says why the database refuses."
        " If there is no such line, restart the validator."
    ),
    look=_held_by_nobody,
)

RUNBOOKS: Final = (
    Runbook(
        alert="NoLeaseHolder",
        meaning="For five minutes no validator of this job has held the lease of its database.",
        impact=(
            "No miner is asked and no weights are set. After 16 hours the chain ignores the weights of before."
        ),
        branches=(
            *shared.RUNNING,
            SERVER_FULL,
            shared.DATABASE_AWAY,
            shared.POSTGRES_DOWN,
            shared.ENGINE_DOWN,
            shared.BLOCKED,
            shared.UNREADABLE,
            HELD_ELSEWHERE,
            HELD_BY_NOBODY,
        ),
    ),
    Runbook(
        alert="DatabaseConnectionsHigh",
        meaning="More than three quarters of the connections of the pool have been in use for ten minutes.",
        impact="Steps wait for a connection. None is lost.",
        branches=(
            *shared.RUNNING,
            SERVER_FULL,
            shared.DATABASE_AWAY,
            shared.BLOCKED,
            shared.HOST_BUSY,
            ALL_IN_USE,
        ),
    ),
    Runbook(
        alert="DatabaseConnectionsExhausted",
        meaning="All connections of the pool are in use.",
        impact="Further steps fail after `GAIA_DATABASE_TIMEOUT_S`, and are tried again. No miner pays for it.",
        branches=(
            *shared.RUNNING,
            SERVER_FULL,
            shared.DATABASE_AWAY,
            shared.BLOCKED,
            shared.HOST_BUSY,
            ALL_IN_USE,
        ),
    ),
    Runbook(
        alert="DatabaseFailures",
        meaning="Transactions fail again and again. Conflicts are not counted, because they are repeated at once.",
        impact="Nothing can be recorded: runs do not open, and no weights are set. No miner pays for it.",
        branches=(
            shared.STOPPED,
            SERVER_FULL,
            shared.FROZEN,
            shared.DATABASE_AWAY,
            shared.BLOCKED,
            shared.UNREADABLE,
            shared.POSTGRES_DOWN,
            shared.DISK_FULL,
            REFUSED,
            NO_PLACE,
            LOST,
            OTHERWISE,
        ),
    ),
)
