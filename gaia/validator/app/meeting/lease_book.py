"""Who holds which unit and which units killed their workers, written where the engine's death cannot lose it."""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections import deque
from pathlib import Path

import msgspec

from gaia.validator.utils.files import put_file

_SLOT = struct.Struct("=BxH4xdd40s192s")
_SLOTS = 512
_HELD, _WAS_HELD = 1, 2
_MOST_STORIES = 1024
_MOST_TOLD = 8
_FORGET_AFTER_S = 86_400.0


class Holding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A unit that a worker was given and has not answered."""

    worker: str
    job_id: str
    attempt: int
    started_at: float
    """Unix seconds, as `deadline_at`."""
    deadline_at: float


class Crash(msgspec.Struct, frozen=True, kw_only=True):
    """The death of a worker while it held the unit."""

    worker: str
    attempt: int
    at: float
    cause: str = ""
    """A sentence; empty as long as the Supervisor has not said it."""
    blames_unit: bool = True


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All that went wrong with a job so far."""

    base: int = 1
    """The attempt with which it was submitted; submitted with another it is a new job."""
    tries: int = 0
    """Workers that died with it."""
    crashes: int = 0
    """Of these, deaths that may be its own doing."""
    deaths: tuple[Crash, ...] = ()
    """The latest of them."""

    def with_crash(self, crash: Crash) -> Story:
        """Return the story with one more death, unless it is told already."""
        if any(told.worker == crash.worker for told in self.deaths):
            return self
        return Story(
            base=self.base,
            tries=self.tries + 1,
            crashes=self.crashes + crash.blames_unit,
            deaths=(*self.deaths, crash)[-_MOST_TOLD:],
        )

    def explained(self, worker: str, cause: str, *, blames_unit: bool) -> Story:
        """Return the story with the cause of the death of `worker`, which came to light later."""
        deaths = tuple(
            msgspec.structs.replace(told, cause=cause, blames_unit=blames_unit)
            if told.worker == worker
            else told
            for told in self.deaths
        )
        acquitted = sum(told.blames_unit for told in self.deaths) - sum(told.blames_unit for told in deaths)
        return Story(base=self.base, tries=self.tries, crashes=self.crashes - acquitted, deaths=deaths)

    def __str__(self) -> str:
        return "; ".join(f"attempt {told.attempt}: {told.cause or 'died'}" for told in self.deaths)


class LeaseBook:
    """The book of one validator; the IO-Engine writes it, its successor and the Supervisor read it.

    Leases are slots of a mapped file: a note costs a copy of 256 bytes, and the kernel keeps
    it when the process dies in the next instruction. Stories are rare and are a file that is
    replaced. A job id of more than 192 bytes is not booked.

    Parameters
    ----------
    path
        Of the leases; the stories are beside it.
    """

    def __init__(self, path: Path) -> None:
        self._stories_path = path.with_name(path.name + ".stories")
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, _SLOT.size * _SLOTS)
            self._memory = mmap.mmap(file, _SLOT.size * _SLOTS)
        finally:
            os.close(file)
        self._slots = {held.worker: index for index, held in self._read(_HELD)}
        taken = set(self._slots.values())
        self._free = deque(index for index in range(_SLOTS) if index not in taken)
        self._stories = _read_stories(self._stories_path)

    @property
    def stories(self) -> dict[str, Story]:
        """What went wrong with each job, of the last day."""
        return dict(self._stories)

    def holdings(self) -> list[Holding]:
        """Return every lease that was neither answered nor ended by a death."""
        return [held for _, held in self._read(_HELD)]

    def lease(self, worker: str, job_id: str, attempt: int, deadline_at: float) -> None:
        """Note that `worker` is about to be given a unit, in place of any it had."""
        name = job_id.encode()
        if len(name) > 192:
            return
        slot = self._slots.get(worker)
        if slot is None:
            if not self._free:
                return
            slot = self._slots[worker] = self._free.popleft()
        start = slot * _SLOT.size
        # Its first byte is written last: whoever dies in between has noted nothing.
        self._memory[start] = 0
        _SLOT.pack_into(
            self._memory, start, 0, attempt & 0xFFFF, time.time(), deadline_at, worker.encode(), name
        )
        self._memory[start] = _HELD

    def release(self, worker: str) -> None:
        """Note that `worker` has answered."""
        slot = self._slots.get(worker)
        if slot is not None:
            self._memory[slot * _SLOT.size] = _WAS_HELD

    def bury(self, worker: str) -> None:
        """Note that `worker` is dead; what it held last can be read for a while."""
        slot = self._slots.pop(worker, None)
        if slot is not None:
            self._memory[slot * _SLOT.size] = _WAS_HELD
            self._free.append(slot)

    def tell(self, job_id: str, story: Story | None) -> None:
        """Keep the story of a job, in place of any earlier; None: it ended well."""
        self._stories.pop(job_id, None)
        if story is not None:
            self._stories[job_id] = story
        while len(self._stories) > _MOST_STORIES:
            del self._stories[next(iter(self._stories))]
        put_file(self._stories_path, msgspec.msgpack.encode(self._stories))

    def close(self) -> None:
        """Let go of the file, which keeps all that was noted."""
        self._memory.close()

    def _read(self, *states: int) -> list[tuple[int, Holding]]:
        return [(index, held) for index, held in _slots(self._memory, states)]


def last_held(path: Path, worker: str) -> str:
    """Return the job that `worker` holds or held last; "" if none is known."""
    try:
        memory = path.read_bytes()
    except OSError:
        return ""
    found = [held for _, held in _slots(memory, (_HELD, _WAS_HELD)) if held.worker == worker]
    return max(found, key=lambda held: held.started_at).job_id if found else ""


def discard(path: Path) -> None:
    """Forget all leases, for no worker is left that could hold one; stories stay."""
    path.unlink(missing_ok=True)


def _slots(memory: mmap.mmap | bytes, states: tuple[int, ...]) -> list[tuple[int, Holding]]:
    found = []
    for index in range(len(memory) // _SLOT.size):
        if memory[index * _SLOT.size] not in states:
            continue
        _, attempt, started_at, deadline_at, worker, job_id = _SLOT.unpack_from(memory, index * _SLOT.size)
        holding = Holding(
            worker=worker.rstrip(b"\0").decode(),
            job_id=job_id.rstrip(b"\0").decode(),
            attempt=attempt,
            started_at=started_at,
            deadline_at=deadline_at,
        )
        found.append((index, holding))
    return found


def _read_stories(path: Path) -> dict[str, Story]:
    try:
        stories = msgspec.msgpack.decode(path.read_bytes(), type=dict[str, Story])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}
    oldest = time.time() - _FORGET_AFTER_S
    return {name: story for name, story in stories.items() if story.deaths and story.deaths[-1].at > oldest}
