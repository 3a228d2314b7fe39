"""Looks at what the Supervisor's page does not tell of processes: descriptors, and memory of workers by seat."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gaia.validator.app.meeting.rendezvous import Board, BoardReader
from gaia.validator.app.observation.family import FORK_SERVER, ROLES, STANDBY, SUPERVISOR, children_of
from gaia.validator.app.supervision import Role

_FORK_SERVER_MARK = b"multiprocessing.forkserver"
_STANDBY_MARK = b"multiprocessing.spawn"
_UNKNOWN = float("nan")
_PAGE = os.sysconf("SC_PAGESIZE")


@dataclass(slots=True)
class Descriptors:
    """Descriptors of the process of a role that has the most; a role without processes has zeros."""

    open: float = 0.0
    """Number that is open; NaN if the system hides those of all."""
    limit: float = 0.0
    """Limit of that process; NaN if unknown."""
    processes: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """All processes at one moment."""

    descriptors: Mapping[str, Descriptors]
    """Role -> descriptors, for each role of `family.ROLES`."""
    seats: Mapping[int, float]
    """Seat -> resident bytes of its compute workers."""


class _Place(NamedTuple):
    """A process of ours, which may have ended."""

    role: str
    pid: int
    seat: int | None = None


class ProcessTable:
    """Looks at the processes of one validator.

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

    def look(self) -> Look:
        """Return what all processes use now.

        It reads some hundred small files of /proc, so the event loop must not wait for it.
        """
        descriptors = {role: Descriptors() for role in ROLES}
        seats: dict[int, float] = {}
        for role, pid, seat in self._places(self._board.read() or Board()):
            rss_bytes = _resident_bytes(pid)
            if rss_bytes is None:
                continue
            _add(descriptors[role], pid)
            if seat is not None:
                seats[seat] = seats.get(seat, 0.0) + rss_bytes
        return Look(descriptors, seats)

    def _places(self, board: Board) -> Iterator[_Place]:
        """Yield each process once: those of the board, and what the Supervisor and PostgreSQL have started."""
        workers = {pid: int(name.partition(".")[0]) for name, pid in board.workers.items()}
        roles = {pid: role for role, pid in board.processes.items()}
        yield _Place(SUPERVISOR, self._supervisor_pid)
        for pid in ({*children_of(self._supervisor_pid)} | roles.keys()) - workers.keys():
            role = roles.get(pid) or _role_without_seat(pid)
            if role is None:
                continue
            yield _Place(role, pid)
            if role == Role.DATABASE:
                for backend in children_of(pid):
                    yield _Place(role, backend)
        for pid, seat in workers.items():
            yield _Place(str(Role.WORKER), pid, seat)


def _resident_bytes(pid: int) -> int | None:
    """Return the resident memory of a process; None if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return None


def _add(most: Descriptors, pid: int) -> None:
    """Note the descriptors of a process, if it has the most of its role so far."""
    most.processes += 1
    try:
        count = float(sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()))
        limit = float(resource.prlimit(pid, resource.RLIMIT_NOFILE)[0])
    except OSError:
        # The signer hides its descriptors even from its own user.
        count, limit = _UNKNOWN, _UNKNOWN
    if most.processes == 1 or count > most.open or math.isnan(most.open):
        most.open, most.limit = count, limit


def _role_without_seat(pid: int) -> str | None:
    """Return the role of a child of the Supervisor that holds no seat; None if it is a passing helper."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    if _FORK_SERVER_MARK in command:
        return FORK_SERVER
    return STANDBY if _STANDBY_MARK in command else None
