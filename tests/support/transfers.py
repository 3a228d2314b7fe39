"""Transfers whose requests a test answers itself."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx

from gaia.tasks.defined_tasks.weather.references.keys import ReferenceSource
from gaia.tasks.defined_tasks.weather.sources.transfer import Transfer


class Stream(httpx.AsyncByteStream):
    """A body that arrives in two parts."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content[:1]
        yield self.content[1:]


def a_transfer(
    handler: Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]], timeout_s: float = 60.0
) -> Transfer:
    """A transfer whose requests `handler` answers, either at once or when awaited."""

    async def answer(request: httpx.Request) -> httpx.Response:
        response = handler(request)
        if inspect.isawaitable(response):
            response = await response
        return httpx.Response(response.status_code, stream=Stream(response.content))

    transfer = Transfer("the source", timeout_s, ReferenceSource.GFS)
    transfer._client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return transfer
