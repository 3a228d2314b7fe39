"""Limits concurrency by key; unused keys take no memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Queue:
    """The holders and waiters of one key."""

    semaphore: asyncio.Semaphore
    users: int = 0


class Turns(Generic[K]):
    """Allows at most `at_once` holders per key; others wait in order of arrival.

    Keys are strangers' addresses and names, so unused ones must not stay in memory.
    """

    def __init__(self, at_once: int = 1) -> None:
        self._at_once = at_once
        self._queues: dict[K, _Queue] = {}

    def __len__(self) -> int:
        """Return the number of keys in use."""
        return len(self._queues)

    @asynccontextmanager
    async def turn(self, key: K) -> AsyncIterator[None]:
        """Wait for a slot of `key`, and hold it during the body."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(asyncio.Semaphore(self._at_once))
        queue.users += 1
        try:
            async with queue.semaphore:
                yield
        finally:
            queue.users -= 1
            if queue.users == 0:
                del self._queues[key]
