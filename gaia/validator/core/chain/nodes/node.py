"""One node of the chain: its connection, which is replaced when it breaks or is old, and its standing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from gaia.validator.core.chain.client import ChainClient
from gaia.validator.utils.errors import BlockUnknown, ItemMissing, TransientError

if TYPE_CHECKING:
    from gaia.validator.core.chain.nodes.standing import Standing

T = TypeVar("T")


class ChainNode:
    """A node that is asked over one long-lived connection.

    Parameters
    ----------
    endpoint
        Its websocket URL.
    timeout_s
        Time limit of one call.
    """

    def __init__(self, endpoint: str, standing: Standing, timeout_s: float) -> None:
        self.standing = standing
        self.block = 0
        """Its newest block when it was last asked; 0: unknown."""
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._chain: ChainClient | None = None
        self._users: Counter[ChainClient] = Counter()
        """Connection -> number of requests that use it."""
        self._retired: set[ChainClient] = set()
        """Replaced connections that are closed after their last request."""
        self._connecting = asyncio.Lock()

    @property
    def name(self) -> str:
        return self.standing.name

    async def ask(self, question: Callable[[ChainClient], Awaitable[T]]) -> T:
        """Return the answer to a question; note whether the node gave one.

        Raises
        ------
        TransientError
            If it did not.
        """
        try:
            async with self._connected() as chain:
                answer = await question(chain)
        except (BlockUnknown, ItemMissing):
            self.standing.answered()
            raise
        except TransientError as error:
            self.standing.failed(str(error))
            raise
        self.standing.answered()
        return answer

    async def renew(self, max_age_s: float) -> tuple[float, bool]:
        """Replace an old connection, after the requests that use it; return (its age in seconds, whether it is new)."""
        old = self._chain
        if old is None or old.age_s <= max_age_s:
            return (old.age_s if old is not None else 0.0), False
        age_s = old.age_s
        # If no other connection is possible, the old one stays.
        fresh = await self._open()
        async with self._connecting:
            is_ours = self._chain is old
            if is_ours:
                self._chain = fresh
        await self._retire(old if is_ours else fresh)
        return age_s, True

    async def close(self) -> None:
        """Close all its connections."""
        for chain in (self._chain, *self._retired):
            if chain is not None:
                await chain.close()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[ChainClient]:
        """Yield a connection that is not marked as broken, and that nobody closes during the body."""
        async with self._connecting:
            if self._chain is not None and self._chain.is_broken:
                broken, self._chain = self._chain, None
                await self._retire(broken)
            if self._chain is None:
                self._chain = await self._open()
            chain = self._chain
        self._users[chain] += 1
        try:
            yield chain
        finally:
            self._users[chain] -= 1
            if not self._users[chain]:
                del self._users[chain]
                if chain in self._retired:
                    self._retired.discard(chain)
                    await chain.close()

    async def _open(self) -> ChainClient:
        return await ChainClient.connect(self._endpoint, self._timeout_s, self.name)

    async def _retire(self, chain: ChainClient) -> None:
        """Close a connection once no request uses it."""
        if chain.is_broken or not self._users[chain]:
            await chain.close()
        else:
            self._retired.add(chain)
