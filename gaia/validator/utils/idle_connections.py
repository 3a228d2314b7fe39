"""Closes idle HTTP connections, which the library itself closes only at its next request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import httpx


class Connections(NamedTuple):
    """Connections of one client, after its idle ones were closed."""

    closed: int
    in_use: int


class HoldsConnections(Protocol):
    """A client that keeps connections for later requests."""

    async def close_idle(self) -> Connections:
        """Close the connections that no request uses."""
        ...


def transports_of(client: httpx.AsyncClient) -> list[httpx.AsyncBaseTransport | None]:
    """Return the transports of `client`, among them those of proxies."""
    return [client._transport, *client._mounts.values()]  # noqa: SLF001 - httpx offers no other way to them


async def close_idle(transports: Iterable[httpx.AsyncBaseTransport | None]) -> Connections:
    """Close the connections of `transports` that no request uses; return their number and that of the others.

    A request that was about to use one of them opens another.
    """
    closed = in_use = 0
    for transport in transports:
        if not isinstance(transport, httpx.AsyncHTTPTransport):
            continue  # it stands for no pool
        for connection in transport._pool.connections:  # noqa: SLF001 - httpx offers no other way to its pool
            if connection.is_idle():
                await connection.aclose()
                closed += 1
            elif not connection.is_closed():
                in_use += 1
    return Connections(closed, in_use)
