"""The SDK's access to one node, with answers of bounded size, and an end to each connection that was begun."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import bittensor as bt
from bittensor._transport import SubstrateConnection
from bittensor._transport.rpc import _default_connect
from bittensor.settings import SS58_FORMAT
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

MOST_BYTES: Final = 32 << 20
"""Largest answer of a node; metadata have 0.8 MB in hex, the metagraph of 256 neurons 0.2 MB."""


class BoundedSubstrate(bt.RpcSubstrate):
    """Access to one node, and to no fallback or archive of the SDK's choice."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint, fallback_endpoints=[], archive_endpoints=[])
        self._begun: SubstrateConnection | None = None

    def _interface(self, endpoint: str, _fallbacks: list[str]) -> SubstrateConnection:
        self._begun = SubstrateConnection(endpoint, ss58_format=SS58_FORMAT, connect_factory=_dial)
        return self._begun

    async def close(self) -> None:
        """Close the connection, also one that was given up before it was ready."""
        try:
            await super().close()
        finally:
            begun, self._begun = self._begun, None
            if begun is not None:
                # The SDK raises here the error that broke the connection, which the call has told.
                with contextlib.suppress(Exception):
                    await begun.close()


async def _dial(url: str) -> _Websocket:
    """Connect as the SDK does, which would take answers of 4 GB."""
    keeping = asyncio.current_task()
    assert keeping is not None
    # Once the SDK's task has given up, the next question begins another, and nobody asks for its error.
    keeping.add_done_callback(lambda task: task.cancelled() or task.exception())
    connection: Any = await _default_connect(url)
    connection.protocol.max_message_size = MOST_BYTES
    return _Websocket(connection)


class _Websocket:
    """A connection whose end is never a regular one, because the SDK 11.3 fails at that while requests wait."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, message: str) -> None:
        await self._connection.send(message)

    async def recv(self) -> str | bytes:
        """Return the next message.

        Raises
        ------
        ConnectionClosedError
            If the node ends the connection, in whatever way; the SDK then connects again, and asks again.
        """
        try:
            return await self._connection.recv()
        except ConnectionClosedOK as error:
            raise ConnectionClosedError(error.rcvd, error.sent, error.rcvd_then_sent) from error

    async def close(self) -> None:
        await self._connection.close()
