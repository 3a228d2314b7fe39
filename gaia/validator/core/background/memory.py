"""Watches memory: snapshots of every role, and relief when it becomes short."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import structlog

from gaia.validator.core.background.seldom import Seldom
from gaia.validator.db.server import observations
from gaia.validator.db.server.observations import RoleMemory
from gaia.validator.utils.identities import WorkerId
from gaia.validator.utils.machine.memory import (
    available_bytes,
    free_memory,
    private_bytes,
    proportional_bytes,
    resident_bytes,
)

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.utils.settings.background import BackgroundSettings

log = structlog.get_logger("performance")

_MIB = 1 << 20
_WORTHWHILE_BYTES = 64 * _MIB
"""Private memory beyond that of a new worker below which a worker is not worth replacing."""
_REGROWN_BYTES = 64 * _MIB
"""Growth since memory was last freed without which freeing it again is useless."""
_TOLD_EVERY_S = 900.0


class RetiresWorkers(Protocol):
    """Has idle workers replaced."""

    def idle_workers(self) -> Mapping[WorkerId, int]:
        """Return worker -> pid of each worker that holds no unit."""
        ...

    def retire(self, worker: WorkerId) -> None:
        """Have a worker replaced; it serves until its successor does."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Relief:
    """What is to be done about memory."""

    frees_own: bool
    """Whether this process collects garbage and returns free memory."""
    retires: tuple[WorkerId, ...]
    """Idle workers to replace, largest first."""


def relief(
    *,
    own_bytes: int,
    own_limit_bytes: int,
    own_freed_to_bytes: int,
    available_bytes: int,
    reserve_bytes: int,
    new_bytes: int,
    idle: Mapping[WorkerId, int],
) -> Relief:
    """Return what is to be done; nothing here touches a process that computes.

    Parameters
    ----------
    own_freed_to_bytes
        Resident memory of this process after it was last freed; 0 if that is long ago.
    new_bytes
        Private memory of a new worker, which its successor needs too.
    idle
        Idle worker -> its private memory in bytes.

    Examples
    --------
    >>> facts = dict(own_bytes=200 << 20, own_limit_bytes=1 << 30, own_freed_to_bytes=0, reserve_bytes=1 << 29)
    >>> facts |= dict(new_bytes=90 << 20, idle={"0.1": 300 << 20, "1.1": 100 << 20})
    >>> relief(**facts, available_bytes=1 << 34)
    Relief(frees_own=False, retires=())
    >>> relief(**facts, available_bytes=1 << 20)
    Relief(frees_own=True, retires=('0.1',))
    """
    is_short = available_bytes < reserve_bytes
    worthwhile = [worker for worker, size in idle.items() if size > new_bytes + _WORTHWHILE_BYTES]
    return Relief(
        frees_own=(is_short or own_bytes > own_limit_bytes)
        and own_bytes > own_freed_to_bytes + _REGROWN_BYTES,
        retires=tuple(sorted(worthwhile, key=lambda worker: -idle[worker])) if is_short else (),
    )


def _measured(processes: Mapping[str, Sequence[int]]) -> list[RoleMemory]:
    """Return the memory of each role; in a thread, because the kernel walks all pages of a process."""
    return [
        RoleMemory(
            role=role,
            processes=len(pids),
            resident_bytes=sum(map(proportional_bytes, pids)),
            private_bytes=sum(map(private_bytes, pids)),
        )
        for role, pids in sorted(processes.items())
    ]


class MemoryKeeper:
    """Takes snapshots of the memory, and frees what is not needed.

    The Supervisor replaces and kills workers beyond their limits. What it leaves is here: the
    memory of the IO-Engine itself, and idle workers below their limits while the machine's memory
    is short.

    Parameters
    ----------
    processes
        Returns role -> pids of the living processes.
    workers
        Has idle workers replaced; None: there are no local workers.
    available
        Returns the memory that this machine can still give, in bytes.
    """

    def __init__(
        self,
        settings: BackgroundSettings,
        database: Database,
        processes: Callable[[], Mapping[str, Sequence[int]]],
        workers: RetiresWorkers | None,
        available: Callable[[], int] = available_bytes,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._kept = timedelta(days=settings.history_days)
        self._own_limit_bytes = settings.engine_memory_mib * _MIB
        self._reserve_bytes = settings.memory_reserve_mib * _MIB
        self._database = database
        self._processes = processes
        self._workers = workers
        self._available_bytes = available
        self._wall_clock = wall_clock
        self._freed_to_bytes = 0
        self._new_bytes = 0
        """Least private memory that any worker had; 0 if there was none."""
        self._seldom = Seldom(_TOLD_EVERY_S, wall_clock)

    async def memory_snapshot_taker(self) -> None:
        """Store the memory of the processes of each role, and log it each quarter of an hour.

        Raises
        ------
        DatabaseFailure
            If the database failed.
        """
        at = datetime.fromtimestamp(self._wall_clock(), UTC)
        taken = await asyncio.to_thread(_measured, self._processes())

        async def store(connection: Connection) -> None:
            await observations.record_memory_snapshot(connection, at, taken, at - self._kept)

        await self._database.run(store)
        private_mib = {role.role: round(role.private_bytes / _MIB) for role in taken}
        tell = log.info if self._seldom.is_due() else log.debug
        tell("memory_snapshot", available_mib=self._available_bytes() // _MIB, private_mib=private_mib)

    async def aggressive_memory_cleanup(self) -> None:
        """Free memory if this process or the machine has too little; else do nothing."""
        idle = self._workers.idle_workers() if self._workers is not None else {}
        sizes = {worker: size for worker, pid in idle.items() if (size := private_bytes(pid))}
        # A forked worker counts the pages of the fork server as its own, so even a new one looks large.
        self._new_bytes = min(filter(None, (self._new_bytes, *sizes.values())), default=0)
        own_bytes = resident_bytes()
        wanted = relief(
            own_bytes=own_bytes,
            own_limit_bytes=self._own_limit_bytes,
            own_freed_to_bytes=self._freed_to_bytes,
            available_bytes=self._available_bytes(),
            reserve_bytes=self._reserve_bytes,
            new_bytes=self._new_bytes,
            idle=sizes,
        )
        if own_bytes <= self._freed_to_bytes - _REGROWN_BYTES:
            self._freed_to_bytes = own_bytes
        if wanted.frees_own or wanted.retires:
            await self._comprehensive_memory_cleanup(wanted)

    async def _comprehensive_memory_cleanup(self, wanted: Relief) -> None:
        """Free our own memory, have the named workers replaced, and log what came of it."""
        freed_bytes = 0
        if wanted.frees_own:
            freed_bytes = await asyncio.to_thread(free_memory)
            self._freed_to_bytes = resident_bytes()
        if self._workers is not None:
            for worker in wanted.retires:
                self._workers.retire(worker)
        log.info(
            "memory_freed",
            freed_mib=round(freed_bytes / _MIB, 1),
            resident_mib=round(resident_bytes() / _MIB, 1),
            available_mib=self._available_bytes() // _MIB,
            workers_retired=list(wanted.retires),
        )
