"""Decides which children to start, stop and kill, and when to halt.

Theory of operation
-------------------
The Supervisor looks at its children, calls `plan`, and carries out the commands that it returns. Two rules:

1. Every decision about a child is here; the Supervisor only observes and acts.
2. Nothing here reads a clock or touches a process: `now` and the facts about each child are arguments.

A seat is a place for one child: a role and a number. A child holds its seat until it is reaped, so `plan` starts a
child in an empty seat only. Compute workers are the exception: one that should be replaced serves until its successor
is admitted, and both hold the seat for that time.

The life of a child: started -> ready -> (workers: admitted by the engine) -> told to stop -> reaped, which makes
it a `Death`. A child that is told to stop gets a time limit (`kill_at`), after which it is killed. Consecutive deaths
that are a child's own fault delay its next start, and finally halt the validator.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile

from gaia.validator.utils.errors import ExitCode


class Role(StrEnum):
    """Purpose of a child, in the order of starting."""

    SIGNER = "chain_signer"
    DATABASE = "postgres"
    ENGINE = "io_engine"
    WORKER = "compute_worker"


STARTS_AFTER: Mapping[Role, tuple[Role, ...]] = {Role.ENGINE: (Role.DATABASE,)}
"""Role -> wanted roles that must be ready before it starts."""

STOPS_AFTER: Mapping[Role, tuple[Role, ...]] = {
    Role.WORKER: (Role.ENGINE,),
    Role.SIGNER: (Role.ENGINE,),
    Role.DATABASE: (Role.ENGINE, Role.WORKER, Role.SIGNER),
}
"""Role -> roles that must be reaped before it is stopped, in an orderly end."""

FORK_SERVER_DIED = 255
"""Exit code that multiprocessing reports for children of a dead fork server."""

_SHARE_OF_DRAIN: Mapping[Role, float] = {
    Role.ENGINE: 0.6,
    Role.WORKER: 0.2,
    Role.SIGNER: 0.2,
    Role.DATABASE: 0.2,
}


READY_WITHIN_S: Mapping[Role, float] = {
    Role.SIGNER: 60.0,
    Role.DATABASE: 900.0,
    Role.ENGINE: 60.0,
    Role.WORKER: 10.0,
}
"""Role -> seconds that a start may take. A database may replay its journal after a crash; an engine or signer may
import from a slow disk; a worker is forked in milliseconds."""

_SHORTEST_LOOK_S = 0.01
_MOST_REMEMBERED = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of memory and time for children, in MiB and seconds."""

    soft_mib: float
    """Private memory above which a worker is replaced; it leaves once its successor is admitted."""
    hard_mib: float
    """Private memory above which a worker is killed."""
    growth_mib_s: float = 2000.0
    """Largest growth of memory, in MiB per second: the speed at which one core can touch it."""
    age_s: float = float("inf")
    """Age above which a worker is replaced."""
    extra_workers: int = 1
    """Largest number of extra workers during replacements; memory is reserved for them."""
    silence_s: Mapping[Role, float] = field(default_factory=dict)
    """Role -> seconds that a child may be stopped or silent before it is killed."""
    drain_timeout_s: float
    """Time limit of an orderly end of all children."""
    recycle_grace_s: float
    """Time limit of a worker to finish its last unit."""
    ready_within_s: Mapping[Role, float] = field(default_factory=lambda: READY_WITHIN_S)
    """Role -> seconds after which a child that is not ready, such as a stopped one, is killed."""
    stable_after_s: float = 5.0
    """Age beyond which a death does not count as a failed start."""
    settled_after_s: float = 1.0
    """Age in seconds from which the soft limit applies to a worker."""
    free_restarts: int = 2
    """Consecutive deaths of one seat that are followed by an immediate start; each further one doubles the wait."""
    backoff_first_s: float = 0.1
    backoff_limit_s: float = 5.0
    crash_limit: int = 12
    """Consecutive deaths of one seat at which the validator halts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """Facts about a process at its last observation; it holds its seat until it is reaped.

    Two compute workers may hold one seat: a leaving one and its successor.
    """

    role: Role
    seat: int
    pid: int
    started_at: float
    is_ready: bool
    is_admitted: bool = False
    """Workers only: an engine has admitted it, so that it can be assigned units."""
    private_mib: float = 0.0
    due: str = ""
    """Reason for a replacement, from the worker itself or because settings changed; empty: none."""
    silent_s: float = 0.0
    """Seconds without a heartbeat, of the database without an answer; 0 for compute workers."""
    kill_at: float | None = None
    """Time at which it is killed, set when it is told to stop; None: it is not told to stop."""
    is_killed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """End of a child that held a seat."""

    role: Role
    seat: int
    at: float
    lived_s: float
    was_ready: bool
    exit_code: int
    """Exit code as in multiprocessing: negative for the number of a fatal signal."""
    was_planned: bool
    """Whether the Supervisor had told it to stop."""
    sentence: str = ""
    """Its sentence for the operator, if it ended with one."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start a child in a seat."""

    role: Role
    seat: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell a child to stop, and kill it at `kill_at`."""

    pid: int
    grace_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill a child."""

    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop everything and end with this exit code."""

    exit_code: int
    reason: str
    sentence: str = ""
    """Sentence of the child at fault for the operator; empty if it left none."""


Command = Start | Stop | Kill | Halt


def plan(
    children: Sequence[Child],
    deaths: Sequence[Death],
    wanted: Mapping[Role, int],
    limits: Limits,
    now: float,
) -> list[Command]:
    """Return the commands that bring the children one step closer to the wanted seats.

    A seat is free only when its last holder is reaped, so two IO-Engines never run at once, not
    even during a restart. A compute worker that should be replaced serves until its successor is
    admitted, so there are never fewer workers than wanted.

    Parameters
    ----------
    children
        All children that are not reaped yet.
    deaths
        Deaths, oldest first; those that `remember` returns are sufficient.
    wanted
        Role -> number of seats; empty: an orderly end.
    now
        Seconds on the clock of `started_at`, `kill_at` and `at`.
    """
    halt = _reason_to_halt(deaths, wanted, limits)
    if halt is not None:
        return [halt]
    return [
        *_kills(children, limits, now),
        *_stops(children, wanted, limits),
        *_starts(children, deaths, wanted, limits, now),
    ]


def remember(deaths: Sequence[Death], latest: Death, limits: Limits) -> list[Death]:
    """Return the deaths that still matter after `latest`; a faultless death clears earlier ones of its seat."""
    if _is_fault(latest, limits):
        return [*deaths, latest][-_MOST_REMEMBERED:]
    return [death for death in deaths if (death.role, death.seat) != (latest.role, latest.seat)] + [latest]


def look_again_s(children: Sequence[Child], limits: Limits, poll_s: float) -> float:
    """Return the seconds to the next memory check, before the largest worker can reach the hard limit."""
    largest = max((child.private_mib for child in children if child.role is Role.WORKER), default=0.0)
    return min(poll_s, max(_SHORTEST_LOOK_S, (limits.hard_mib - largest) / limits.growth_mib_s))


def wants_standby(
    children: Sequence[Child], wanted: Mapping[Role, int], *, is_fork_server_loading: bool
) -> bool:
    """Return whether an engine should load beside the children, so that it is there at once when it is needed.

    The first engine loads while it waits for a database, which may recover for minutes. The next one loads once
    engine, signer and fork server have loaded, because none of them must wait for it.
    """
    if not wanted.get(Role.ENGINE):
        return False
    is_ready = {child.role: child.is_ready for child in children}
    if Role.ENGINE not in is_ready:
        return bool(wanted.get(Role.DATABASE)) and not is_ready.get(Role.DATABASE)
    is_signer_there = not wanted.get(Role.SIGNER) or is_ready.get(Role.SIGNER, False)
    return is_ready[Role.ENGINE] and is_signer_there and not is_fork_server_loading


def _reason_to_halt(deaths: Sequence[Death], wanted: Mapping[Role, int], limits: Limits) -> Halt | None:
    for death in deaths:
        if wanted.get(death.role, 0) and _is_operators_to_mend(death, wanted):
            return Halt(death.exit_code, f"{death.role} met a configuration error", death.sentence)
    for role, seats in wanted.items():
        for seat in range(seats):
            faults = _faults_in_a_row(deaths, role, seat, limits)
            if role is Role.WORKER:
                # The ledger quarantines a unit that kills its workers; a worker that
                # cannot even start is our own fault.
                faults = [death for death in faults if not death.was_ready]
            if len(faults) >= limits.crash_limit:
                reason = f"{role} died {len(faults)} times in a row"
                return Halt(ExitCode.CRASH_LOOP, reason, faults[0].sentence)
    return None


def _is_operators_to_mend(death: Death, wanted: Mapping[Role, int]) -> bool:
    if death.was_planned or death.exit_code in (ExitCode.OK, ExitCode.CRASH):
        return False
    if death.exit_code == ExitCode.DATABASE_UNREACHABLE and wanted.get(Role.DATABASE):
        return False  # the embedded database is being restarted
    return death.exit_code in set(ExitCode)


def _kills(children: Sequence[Child], limits: Limits, now: float) -> Iterator[Kill]:
    for child in children:
        if child.is_killed:
            continue
        if child.kill_at is not None and now >= child.kill_at:
            yield Kill(child.pid, "did not stop in time")
        elif child.role is Role.WORKER and child.private_mib > limits.hard_mib:
            yield Kill(child.pid, "private memory above the hard limit")
        elif child.silent_s > limits.silence_s.get(child.role, float("inf")):
            yield Kill(child.pid, "silent")
        elif not child.is_ready and now - child.started_at > limits.ready_within_s[child.role]:
            yield Kill(child.pid, "not ready in time")


def _stops(children: Sequence[Child], wanted: Mapping[Role, int], limits: Limits) -> Iterator[Stop]:
    alive = {child.role for child in children}
    for child in children:
        if child.kill_at is not None or child.is_killed:
            continue
        is_awaited = any(role in alive and not wanted.get(role) for role in STOPS_AFTER.get(child.role, ()))
        if child.seat >= wanted.get(child.role, 0):
            if not is_awaited:
                reason = "fewer seats are wanted" if wanted else "stop requested"
                yield Stop(child.pid, _SHARE_OF_DRAIN[child.role] * limits.drain_timeout_s, reason)
        elif child.role is Role.WORKER and _has_successor(child, children):
            yield Stop(child.pid, limits.recycle_grace_s, "its successor is admitted")


def _has_successor(worker: Child, children: Sequence[Child]) -> bool:
    return any(
        (other.started_at, other.pid) > (worker.started_at, worker.pid) and other.is_admitted
        for other in _serving(children, worker.seat)
    )


def _serving(children: Sequence[Child], seat: int) -> list[Child]:
    """Return the workers of a seat that are neither told to stop nor killed."""
    return [
        child
        for child in children
        if (child.role, child.seat) == (Role.WORKER, seat) and child.kill_at is None and not child.is_killed
    ]


def _starts(
    children: Sequence[Child],
    deaths: Sequence[Death],
    wanted: Mapping[Role, int],
    limits: Limits,
    now: float,
) -> Iterator[Start]:
    ready = {child.role for child in children if child.is_ready}
    workers = [child for child in children if child.role is Role.WORKER]
    empty = set(range(wanted.get(Role.WORKER, 0))) - {worker.seat for worker in workers}
    room = wanted.get(Role.WORKER, 0) + limits.extra_workers - len(workers) - len(empty)
    for role in Role:
        if any(wanted.get(other) and other not in ready for other in STARTS_AFTER.get(role, ())):
            continue
        for seat in range(wanted.get(role, 0)):
            faults = _faults_in_a_row(deaths, role, seat, limits)
            is_rested = not faults or now >= faults[0].at + _backoff_s(faults, limits)
            holders = [child for child in children if (child.role, child.seat) == (role, seat)]
            is_vacant = not holders or (room > 0 and _wants_another(holders, limits, now))
            if is_vacant and is_rested:
                room -= role is Role.WORKER and bool(holders)
                yield Start(role, seat)


def _wants_another(holders: Sequence[Child], limits: Limits, now: float) -> bool:
    """Return whether a worker must be started beside the holders of its seat."""
    if holders[0].role is not Role.WORKER or any(child.is_killed for child in holders):
        return False
    serving = _serving(holders, holders[0].seat)
    # A leaving worker whose successor died is replaced at once.
    return not serving or (len(serving) == 1 and bool(reason_to_replace(serving[0], limits, now)))


def reason_to_replace(worker: Child, limits: Limits, now: float) -> str:
    """Return the reason to replace a compute worker; "" if there is none."""
    if not worker.is_ready:
        return ""
    age_s = now - worker.started_at
    # Memory that a worker needs from the start is not a leak, because each successor needs it too.
    if worker.private_mib > limits.soft_mib and age_s >= limits.settled_after_s:
        return "private memory above the soft limit"
    return "age" if age_s > limits.age_s else worker.due


def _faults_in_a_row(deaths: Sequence[Death], role: Role, seat: int, limits: Limits) -> list[Death]:
    """Return the latest consecutive deaths of a seat that were its own fault, newest first."""
    ours = (death for death in reversed(deaths) if (death.role, death.seat) == (role, seat))
    return list(takewhile(lambda death: _is_fault(death, limits), ours))


def _is_fault(death: Death, limits: Limits) -> bool:
    if death.was_planned or (death.role is Role.WORKER and death.exit_code == ExitCode.OK):
        return False
    # A ready child that is killed from outside is not at fault, nor is one whose fork server died.
    was_murdered = death.exit_code in (-signal.SIGKILL, FORK_SERVER_DIED)
    return not death.was_ready or (death.lived_s < limits.stable_after_s and not was_murdered)


def _backoff_s(faults: Sequence[Death], limits: Limits) -> float:
    if len(faults) <= limits.free_restarts:
        return 0.0
    if all(death.role is Role.WORKER and death.was_ready for death in faults):
        # Workers die of their units, which the ledger counts; a longer wait would delay other units.
        return limits.backoff_first_s
    doublings = min(len(faults) - limits.free_restarts - 1, 16)
    return min(limits.backoff_limit_s, limits.backoff_first_s * float(2**doublings))
