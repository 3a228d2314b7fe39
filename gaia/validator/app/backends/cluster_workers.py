"""Which workers of a cluster we may use, which we use, and which attempt each of them has."""

from __future__ import annotations

import asyncio
import time

from gaia.validator.app.backends.protocols import AttemptLost


class Attempt:
    """One attempt, at the worker that has it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.key = ""
        self._missed_at: float | None = None
        self.lost: asyncio.Future[AttemptLost] = asyncio.get_running_loop().create_future()

    def note_presence(self, *, is_there: bool, patience_s: float) -> None:
        """Say whether its worker is there; one that stays away for longer than `patience_s` has left."""
        now = time.monotonic()
        if is_there:
            self._missed_at = None
        elif self._missed_at is None:
            self._missed_at = now
        elif now - self._missed_at > patience_s:
            self.lose(f"the worker at {self.address} is not there any more", is_crash=False)

    def lose(self, cause: str, *, is_crash: bool) -> None:
        if not self.lost.done():
            self.lost.set_result(AttemptLost(cause, is_crash=is_crash))


class Workers:
    """Addresses of workers: which we may use, which we use, and which we won't."""

    def __init__(self) -> None:
        self.known: dict[str, None] = {}
        self.held: dict[str, Attempt] = {}
        self.refused: dict[str, str] = {}
        """With the reason."""
        self._condemned: set[str] = set()
        self._freed = asyncio.Event()

    @property
    def seen(self) -> set[str]:
        """Those about whom there is nothing to decide."""
        return self.known.keys() | self.refused.keys() | self._condemned

    async def seize(self) -> str:
        """Return an idle worker, the one idle for longest; waits until there is one."""
        while True:
            for address in self.known:
                if address not in self.held:
                    return address
            self._freed.clear()
            await self._freed.wait()

    def admit(self, address: str) -> None:
        self.known[address] = None
        self._freed.set()

    def free(self, address: str) -> None:
        self.held.pop(address, None)
        if address in self.known:
            # To the end of the line.
            del self.known[address]
            self.admit(address)

    def condemn(self, address: str) -> None:
        """Use it no more: it is about to be killed."""
        self.known.pop(address, None)
        self._condemned.add(address)

    def pardon(self, address: str) -> None:
        self._condemned.discard(address)
        self.admit(address)

    def drop(self, address: str) -> None:
        self.known.pop(address, None)
        self.refused.pop(address, None)
        self._condemned.discard(address)

    def keep_only(self, present: set[str]) -> None:
        for address in (self.seen | self.known.keys()) - present:
            self.drop(address)

    def clear(self) -> None:
        self.keep_only(set())
