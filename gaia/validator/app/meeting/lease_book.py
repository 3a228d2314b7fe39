"""Stores leases and crash histories on disk, where they survive the engine that wrote them."""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections import deque
from pathlib import Path

import msgspec

from gaia.validator.utils.files import put_file
from gaia.validator.utils.identities import JobId, WorkerId

_SLOT = struct.Struct("=BxH4xdd40s192s")
_SLOTS = 512
_HELD, _WAS_HELD = 1, 2
_MOST_HISTORIES = 1024
_MOST_DEATHS = 8
_FORGET_AFTER_S = 86_400.0


class Holding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A unit that was assigned to a worker and is not answered."""

    worker: WorkerId
    job_id: JobId
    attempt: int
    started_at: float
    """Unix seconds, like `deadline_at`."""
    deadline_at: float


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """The death of a worker while it held the unit."""

    worker: WorkerId
    attempt: int
    at: float
    cause: str = ""
    """Cause in a sentence; empty until the Supervisor has reported it."""
    blames_unit: bool = True


class CrashHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The deaths of workers that held one job."""

    base: int = 1
    """Attempt of its submission; a submission with another attempt starts a new history."""
    tries: int = 0
    """Number of workers that died with it."""
    crashes: int = 0
    """Number of these deaths that the job may have caused."""
    deaths: tuple[Crash, ...] = ()
    """The latest of these deaths, oldest first."""

    def with_crash(self, crash: Crash) -> CrashHistory:
        """Return the history with one more death, unless that worker's death is already in it."""
        if any(told.worker == crash.worker for told in self.deaths):
            return self
        return CrashHistory(
            base=self.base,
            tries=self.tries + 1,
            crashes=self.crashes + crash.blames_unit,
            deaths=(*self.deaths, crash)[-_MOST_DEATHS:],
        )

    def explained(self, worker: WorkerId, cause: str, *, blames_unit: bool) -> CrashHistory:
        """Return the history with the cause of death of `worker`, which is reported later."""
        deaths = tuple(
            msgspec.structs.replace(told, cause=cause, blames_unit=blames_unit)
            if told.worker == worker
            else told
            for told in self.deaths
        )
        acquitted = sum(told.blames_unit for told in self.deaths) - sum(told.blames_unit for told in deaths)
        return CrashHistory(base=self.base, tries=self.tries, crashes=self.crashes - acquitted, deaths=deaths)

    def __str__(self) -> str:
        return "; ".join(f"attempt {told.attempt}: {told.cause or 'died'}" for told in self.deaths)


class LeaseBook:
    """The lease book of one validator; the IO-Engine writes it, its successor and the Supervisor read it.

    Leases are slots of a mapped file. A note costs a copy of 256 bytes, and the kernel keeps it even
    if the process dies in the next instruction. Crash histories are rare, and are a file that is
    replaced. A job id of more than 192 bytes is not stored.

    Parameters
    ----------
    path
        File of the leases; the crash histories are in a file beside it.
    """

    def __init__(self, path: Path) -> None:
        self._histories_path = path.with_name(path.name + ".stories")
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, _SLOT.size * _SLOTS)
            self._memory = mmap.mmap(file, _SLOT.size * _SLOTS)
        finally:
            os.close(file)
        self._slots = {held.worker: index for index, held in self._read(_HELD)}
        taken = set(self._slots.values())
        self._free = deque(index for index in range(_SLOTS) if index not in taken)
        self._histories = _read_histories(self._histories_path)

    @property
    def crash_histories(self) -> dict[JobId, CrashHistory]:
        """Job id -> its crash history, for crashes of the last day."""
        return dict(self._histories)

    def holdings(self) -> list[Holding]:
        """Return every lease that neither an answer nor a death has ended."""
        return [held for _, held in self._read(_HELD)]

    def lease(self, worker: WorkerId, job_id: JobId, attempt: int, deadline_at: float) -> None:
        """Note that `worker` is about to be assigned a unit, in place of any earlier one."""
        name = job_id.encode()
        if len(name) > 192:
            return
        slot = self._slots.get(worker)
        if slot is None:
            if not self._free:
                return
            slot = self._slots[worker] = self._free.popleft()
        start = slot * _SLOT.size
        # The first byte is written last, so that a death in between leaves no lease.
        self._memory[start] = 0
        _SLOT.pack_into(
            self._memory, start, 0, attempt & 0xFFFF, time.time(), deadline_at, worker.encode(), name
        )
        self._memory[start] = _HELD

    def release(self, worker: WorkerId) -> None:
        """Note that `worker` has answered."""
        slot = self._slots.get(worker)
        if slot is not None:
            self._memory[slot * _SLOT.size] = _WAS_HELD

    def bury(self, worker: WorkerId) -> None:
        """Note that `worker` is dead; its last job can still be read for a while."""
        slot = self._slots.pop(worker, None)
        if slot is not None:
            self._memory[slot * _SLOT.size] = _WAS_HELD
            self._free.append(slot)

    def record_crashes(self, job_id: JobId, history: CrashHistory | None) -> None:
        """Store the crash history of a job, in place of any earlier; None deletes it."""
        self._histories.pop(job_id, None)
        if history is not None:
            self._histories[job_id] = history
        while len(self._histories) > _MOST_HISTORIES:
            del self._histories[next(iter(self._histories))]
        put_file(self._histories_path, msgspec.msgpack.encode(self._histories))

    def close(self) -> None:
        """Close the file, which keeps all notes."""
        self._memory.close()

    def _read(self, *states: int) -> list[tuple[int, Holding]]:
        return [(index, held) for index, held in _slots(self._memory, states)]


def last_held(path: Path, worker: WorkerId) -> JobId:
    """Return the job that `worker` holds or last held; "" if none is known."""
    try:
        memory = path.read_bytes()
    except OSError:
        return JobId("")
    found = [held for _, held in _slots(memory, (_HELD, _WAS_HELD)) if held.worker == worker]
    return max(found, key=lambda held: held.started_at).job_id if found else JobId("")


def discard(path: Path) -> None:
    """Delete all leases, because no worker is left; crash histories stay."""
    path.unlink(missing_ok=True)


def _slots(memory: mmap.mmap | bytes, states: tuple[int, ...]) -> list[tuple[int, Holding]]:
    found = []
    for index in range(len(memory) // _SLOT.size):
        if memory[index * _SLOT.size] not in states:
            continue
        _, attempt, started_at, deadline_at, worker, job_id = _SLOT.unpack_from(memory, index * _SLOT.size)
        holding = Holding(
            worker=WorkerId(worker.rstrip(b"\0").decode()),
            job_id=JobId(job_id.rstrip(b"\0").decode()),
            attempt=attempt,
            started_at=started_at,
            deadline_at=deadline_at,
        )
        found.append((index, holding))
    return found


def _read_histories(path: Path) -> dict[JobId, CrashHistory]:
    try:
        histories = msgspec.msgpack.decode(path.read_bytes(), type=dict[JobId, CrashHistory])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}
    oldest = time.time() - _FORGET_AFTER_S
    return {
        name: history
        for name, history in histories.items()
        if history.deaths and history.deaths[-1].at > oldest
    }
