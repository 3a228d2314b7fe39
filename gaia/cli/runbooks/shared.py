"""Causes that many alerts share: a process, the database, the chain, the disk or the machine."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import psutil

from gaia.cli.runbooks.branch import Branch
from gaia.cli.runbooks.facts import ENGINE, POSTGRES, SIGNER, SUPERVISOR, WORKER
from gaia.cli.tables import one_line
from gaia.validator.utils.machine.disk_space import space_of

if TYPE_CHECKING:
    from gaia.cli.runbooks.facts import Facts
    from gaia.validator.utils.settings.database import DatabaseSettings
    from gaia.validator.utils.settings.pool import PoolSettings

_MUCH_CPU: Final = 0.8
_LITTLE_FREE: Final = 0.1
_LITTLE_MEMORY: Final = 0.05
_DIAL_S: Final = 5.0


def is_running(facts: Facts) -> bool:
    """Return whether any process of the validator lives."""
    return bool(facts.processes)


def _stopped(facts: Facts) -> str:
    return "" if is_running(facts) else f"no process of the validator in {facts.data_dir} lives"


def _silent_endpoint(facts: Facts) -> str:
    is_silent = is_running(facts) and facts.endpoint and facts.samples is None
    return f"{facts.endpoint_error}; the validator's processes live" if is_silent else ""


def _database_away(facts: Facts) -> str:
    return one_line(facts.database_error)


def _unreadable(facts: Facts) -> str:
    return "" if facts.blocked else one_line(facts.rows_error)


def _down(facts: Facts, role: str) -> str:
    if not is_running(facts) or facts.pids(role):
        return ""
    if role in _elsewhere(facts.settings.database, facts.settings.pool):
        return ""
    deaths = [death for death in facts.deaths() if death.role == role]
    return f"the last one: {deaths[0].sentence}" if deaths else "its board names no living one"


def _elsewhere(database: DatabaseSettings, pool: PoolSettings) -> set[str]:
    """Return the roles that the settings leave to other machines."""
    roles = set() if database.is_embedded else {POSTGRES}
    return roles if pool.compute_backend == "local" else {WORKER, *roles}


def _frozen(facts: Facts) -> str:
    names = []
    for pid, name in facts.roles().items():
        try:
            if facts.processes[pid].status() == psutil.STATUS_STOPPED:
                names.append(f"{name} (pid {pid})")
        except psutil.Error:
            continue  # it ended meanwhile, so it is not stopped
    return f"stopped: {', '.join(sorted(names))}" if names else ""


def _hangs(facts: Facts) -> str:
    age = facts.heartbeat_age_s
    return f"its last heartbeat was {age:.0f} s ago" if age is not None and age > facts.silence_s else ""


def _chain_away(facts: Facts) -> str:
    incidents = [row for row in facts.rows.incidents if row.party == "chain"] if facts.rows else []
    if incidents:
        return f"since {incidents[0].began_at:%Y-%m-%d %H:%MZ}: {one_line(incidents[0].evidence)}"
    status = facts.samples.value("gaia_substrate_connection_status") if facts.samples else None
    return "the last reading of the chain failed" if status == 0 else ""


def _chain_closed(facts: Facts) -> str:
    """Return why no node takes a connection; "" if one does."""
    reasons = []
    for endpoint in facts.settings.chain.endpoints:
        address = urlsplit(endpoint)
        port = address.port or (443 if address.scheme == "wss" else 80)
        try:
            with socket.create_connection((address.hostname or "", port), timeout=_DIAL_S):
                return ""
        except OSError as error:
            reasons.append(f"{address.hostname}:{port}: {error.strerror or error}")
    return ", ".join(reasons)


def _disk_full(facts: Facts) -> str:
    space = space_of(facts.data_dir)
    is_full = space.share_free < _LITTLE_FREE
    return f"{space.share_free:.1%} is free, {space.free / 2**30:.1f} GiB" if is_full else ""


def _busy(facts: Facts, role: str) -> str:
    cores = sum(facts.cpu.get(pid, 0.0) for pid in facts.pids(role))
    return f"it uses {cores:.0%} of a core" if cores > _MUCH_CPU else ""


def _host_busy(_facts: Facts) -> str:
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"{load:.1f} processes want to run on {cores} cores" if load > 2 * cores else ""


def _host_full(_facts: Facts) -> str:
    memory = psutil.virtual_memory()
    share = memory.available / memory.total
    return f"{share:.1%} of the host's memory is available" if share < _LITTLE_MEMORY else ""


def _blocked(facts: Facts) -> str:
    if not facts.blocked:
        return ""
    row = facts.blocked[0]
    return (
        f"{len(facts.blocked)} sessions wait, pid {row.pid} for {row.waited_s:.0f} s on pid {row.blocked_by}"
    )


def _errors(facts: Facts) -> str:
    kinds = facts.by("gaia_errors_total", "kind")
    return (
        f"since the start: {', '.join(f'{count:.0f} {kind}' for kind, count in kinds.items())}"
        if kinds
        else ""
    )


STOPPED = Branch(
    sentence="The validator does not run.",
    remedy=(
        "Start it. If it ended by itself, the last line on standard error says why."
        " [Exit codes](../reference/exit-codes.md) explains the code."
    ),
    look=_stopped,
)
ENDPOINT_SILENT = Branch(
    sentence="The validator runs, but its metrics endpoint does not answer.",
    remedy="Compare `GAIA_METRICS_HOST` and `GAIA_METRICS_PORT` with the address above. If they are right, restart it.",
    look=_silent_endpoint,
)
DATABASE_AWAY = Branch(
    sentence="The database does not answer.",
    remedy=(
        "An embedded one: read `postgres/postgres.log` in the data folder; the Supervisor starts it again."
        " Another one: start the server, or correct `GAIA_DATABASE_URL`."
    ),
    look=_database_away,
)
UNREADABLE = Branch(
    sentence="The database answers, but its tables cannot be read.",
    remedy=(
        "If it is of another release, start the validator once, which brings it up to date."
        " Restore what was renamed or dropped."
    ),
    look=_unreadable,
)
ENGINE_DOWN = Branch(
    sentence="No IO-Engine lives.",
    remedy="Read `gaia logs --level warning`. If it does not come back within a minute, restart the validator.",
    look=lambda facts: _down(facts, ENGINE),
)
SIGNER_DOWN = Branch(
    sentence="No chain signer lives.",
    remedy="Read `gaia logs --level warning`. The hotkey file may be gone or unreadable.",
    look=lambda facts: _down(facts, SIGNER),
)
WORKERS_DOWN = Branch(
    sentence="No compute worker lives.",
    remedy="Read `gaia logs --level warning`: it says why workers do not start, such as memory or the sandbox.",
    look=lambda facts: _down(facts, WORKER),
)
POSTGRES_DOWN = Branch(
    sentence="The embedded database does not live.",
    remedy="Read `postgres/postgres.log` in the data folder. A full disk is the usual cause.",
    look=lambda facts: _down(facts, POSTGRES),
)
FROZEN = Branch(
    sentence="A process is stopped by a signal.",
    remedy="Wake it with `kill -CONT PID`, or end it with `kill -KILL PID`: the Supervisor starts another.",
    look=_frozen,
)
ENGINE_HANGS = Branch(
    sentence="The IO-Engine lives, but its loop does not turn.",
    remedy="The Supervisor replaces it after `GAIA_ENGINE_SILENCE_S`. If that repeats, report the stack in the log.",
    look=_hangs,
)
CHAIN_AWAY = Branch(
    sentence="The chain does not answer.",
    remedy=(
        "Check the host's network, or use another node as `GAIA_CHAIN_ENDPOINT`."
        " Weights follow by themselves once it answers."
    ),
    look=_chain_away,
)
CHAIN_CLOSED = Branch(
    sentence="The chain endpoint refuses connections from this host.",
    remedy="Correct `GAIA_CHAIN_ENDPOINT`, or open the port. The node may be down.",
    look=_chain_closed,
)
DISK_FULL = Branch(
    sentence="The disk of the data folder is nearly full.",
    remedy="Free some space, or move `GAIA_DATA_DIR` to a larger disk. Lower `GAIA_KEEP_INPUTS_DAYS` if it is not 0.",
    look=_disk_full,
)
ENGINE_BUSY = Branch(
    sentence="The IO-Engine uses a whole core.",
    remedy="Look for a program that calls the metrics endpoint all the time. Else report it with the file that `gaia debug bundle` writes.",
    look=lambda facts: _busy(facts, ENGINE),
)
SIGNER_BUSY = Branch(
    sentence="The chain signer uses a whole core.",
    remedy="Restart the validator. If it happens again, report it with the file that `gaia debug bundle` writes.",
    look=lambda facts: _busy(facts, SIGNER),
)
SUPERVISOR_BUSY = Branch(
    sentence="The Supervisor uses a whole core.",
    remedy="Raise `GAIA_SUPERVISOR_POLL_S`, and restart: so often it weighs all processes.",
    look=lambda facts: _busy(facts, SUPERVISOR),
)
HOST_BUSY = Branch(
    sentence="The machine has too much to do.",
    remedy="Stop other programs, lower `GAIA_COMPUTE_WORKERS`, or use a machine with more cores.",
    look=_host_busy,
)
HOST_FULL = Branch(
    sentence="The machine has hardly any memory left.",
    remedy="Stop other programs, or lower `GAIA_COMPUTE_WORKERS`. Keep memory for one worker more than that.",
    look=_host_full,
)
BLOCKED = Branch(
    sentence="Statements wait for a lock of another session.",
    remedy="End that session if it is not the validator's: `SELECT pg_terminate_backend(PID)` in psql.",
    look=_blocked,
)
ERRORS = Branch(
    sentence="Jobs of the orchestrator have failed.",
    remedy="Read `gaia logs --event job_failed`. TransientError is the chain or an archive; DatabaseFailure the database.",
    look=_errors,
)

RUNNING: Final = (STOPPED, FROZEN, ENDPOINT_SILENT)
"""First branches of nearly every runbook: where they hold, what else is seen follows from them."""
