"""Finds all processes of one validator, and sums what they use by role; the Supervisor may load it."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import psutil

from gaia.validator.app.meeting.rendezvous import Board, BoardReader
from gaia.validator.app.supervision import Role
from gaia.validator.utils.files import put_file

SUPERVISOR: Final = "supervisor"
STANDBY: Final = "standby"
FORK_SERVER: Final = "fork_server"
ROLES: Final = (SUPERVISOR, STANDBY, FORK_SERVER, *(str(role) for role in Role))
"""All roles of processes, also those that a deployment does not have."""

_FORK_SERVER_MARK = b"multiprocessing.forkserver"
_STANDBY_MARK = b"multiprocessing.spawn"
_UNKNOWN = float("nan")
_PAGE = os.sysconf("SC_PAGESIZE")
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
# Places in /proc/<pid>/stat behind the name of the program, which is in parentheses.
_UTIME, _STIME, _BIRTH, _RSS = 11, 12, 19, 21


@dataclass(slots=True)
class Usage:
    """What the processes of one role use now; a role without processes has zeros."""

    up: int = 0
    """Number of living processes."""
    rss_bytes: float = 0.0
    cpu_s: float = 0.0
    """CPU seconds of all processes that the role ever had; it never falls."""
    open_fds: float = 0.0
    """Descriptors of the process that has the most; NaN if the system hides those of all."""
    max_fds: float = 0.0
    """Limit of that process; NaN if unknown."""


@dataclass(frozen=True, slots=True)
class Look:
    """All processes at one moment."""

    roles: Mapping[str, Usage]
    """Role -> usage, for each of `ROLES`."""
    seats: Mapping[int, float]
    """Seat -> resident bytes of its compute workers."""


class _Memory(msgspec.Struct):
    """CPU seconds so far; kept in a file, so that a new process of ours counts on from them."""

    totals: dict[str, float] = {}
    """Role -> CPU seconds."""
    seen: dict[str, float] = {}
    """"<pid>@<ticks at its birth>" -> CPU seconds of that process when it was last seen."""


class _Place(NamedTuple):
    """A process of ours, which may have ended."""

    role: str
    pid: int
    seat: int | None = None


class _Facts(NamedTuple):
    rss_bytes: int
    cpu_s: float
    name: str
    """A name that no other process has before the machine starts anew."""


class ProcessTable:
    """Sums the processes of one validator, at each look.

    The memory of CPU seconds is a file beside the board. The IO-Engine and the Supervisor may each have a table, and
    look in turn: both go on from the same totals.

    Parameters
    ----------
    board
        File in which the Supervisor publishes the living processes.
    supervisor_pid
        Pid of the Supervisor, from which all others descend.
    """

    def __init__(self, board: Path, supervisor_pid: int) -> None:
        self._board = BoardReader(board)
        self._supervisor_pid = supervisor_pid
        self._memory_path = board.with_name("cpu")
        self._memory: _Memory | None = None

    def look(self) -> Look:
        """Return what all processes use now.

        It reads some hundred small files of /proc, so the event loop must not wait for it.
        """
        roles = {role: Usage() for role in ROLES}
        seats: dict[int, float] = {}
        memory = self._memory = self._memory or self._remembered()
        seen: dict[str, float] = {}
        for role, pid, seat in self._places(self._board.read() or Board()):
            facts = _facts(pid)
            if facts is None:
                continue
            usage = roles[role]
            usage.up += 1
            usage.rss_bytes += facts.rss_bytes
            count, limit = _descriptors(pid)
            if usage.up == 1 or count > usage.open_fds or math.isnan(usage.open_fds):
                usage.open_fds, usage.max_fds = count, limit
            if seat is not None:
                seats[seat] = seats.get(seat, 0.0) + facts.rss_bytes
            gained_s = max(0.0, facts.cpu_s - memory.seen.get(facts.name, 0.0))
            memory.totals[role] = memory.totals.get(role, 0.0) + gained_s
            seen[facts.name] = facts.cpu_s
        memory.seen = seen
        for role, usage in roles.items():
            usage.cpu_s = memory.totals.get(role, 0.0)
        return Look(roles, seats)

    def remember(self) -> None:
        """Write the CPU seconds of the last look to the file.

        Raises
        ------
        OSError
            If the disk fails; the next call may succeed.
        """
        if self._memory is not None:
            put_file(self._memory_path, msgspec.json.encode(self._memory))

    def _remembered(self) -> _Memory:
        """Return what an earlier process of ours has counted."""
        try:
            return msgspec.json.decode(self._memory_path.read_bytes(), type=_Memory)
        except (OSError, msgspec.MsgspecError):
            return _Memory()

    def _places(self, board: Board) -> Iterator[_Place]:
        """Yield each process once: those of the board, and what the Supervisor and PostgreSQL have started."""
        workers = {pid: int(name.partition(".")[0]) for name, pid in board.workers.items()}
        roles = {pid: role for role, pid in board.processes.items()}
        yield _Place(SUPERVISOR, self._supervisor_pid)
        for pid in ({*_children_of(self._supervisor_pid)} | roles.keys()) - workers.keys():
            role = roles.get(pid) or _role_without_seat(pid)
            if role is None:
                continue
            yield _Place(role, pid)
            if role == Role.DATABASE:
                for backend in _children_of(pid):
                    yield _Place(role, backend)
        for pid, seat in workers.items():
            yield _Place(str(Role.WORKER), pid, seat)


def _facts(pid: int) -> _Facts | None:
    """Return what /proc says of a process; None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    values = stat.rpartition(b")")[2].split()
    cpu_s = (int(values[_UTIME]) + int(values[_STIME])) * _TICK_S
    return _Facts(int(values[_RSS]) * _PAGE, cpu_s, f"{pid}@{int(values[_BIRTH])}")


def _descriptors(pid: int) -> tuple[float, float]:
    """Return the open descriptors of a process and their limit; NaN if the system hides them.

    The signer hides its descriptors even from its own user.
    """
    try:
        count = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        return float(count), float(resource.prlimit(pid, resource.RLIMIT_NOFILE)[0])
    except OSError:
        return _UNKNOWN, _UNKNOWN


def _role_without_seat(pid: int) -> str | None:
    """Return the role of a child of the Supervisor that holds no seat; None if it is a passing helper."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    if _FORK_SERVER_MARK in command:
        return FORK_SERVER
    return STANDBY if _STANDBY_MARK in command else None


def _children_of(pid: int) -> list[int]:
    """Return the children of a process whose main thread starts them; empty if it has ended."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(child) for child in path.read_bytes().split()]
    except FileNotFoundError:
        pass  # it has ended, or this kernel has no such file
    except OSError:
        return []
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []
