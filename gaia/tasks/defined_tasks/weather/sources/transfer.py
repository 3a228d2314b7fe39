"""HTTP requests to data sources, bounded in time and size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from gaia.tasks.defined_tasks.weather.references.keys import ReferenceSource
from gaia.tasks.defined_tasks.weather.sources.refusals import SourceRefusal, refusal_of
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.files import whole_file
from gaia.validator.utils.idle_connections import Connections, close_idle, transports_of
from gaia.validator.utils.logs.context import shared_task
from gaia.validator.utils.tallies import Totals

T = TypeVar("T")

RECEIVED_BYTES: Final = Totals(ReferenceSource)
"""Source -> bytes of the bodies that it sent to this process, whether they were of use or not."""

_LOOPBACK: Mapping[str, None] = {"all://127.0.0.1": None, "all://localhost": None}


_MOST_REDIRECTS = 5
_REASON_LIMIT_BYTES = 64 << 10
"""Bytes that are read of an answer that is a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of any status; complete if its status is 2xx."""

    url: str
    """Address that answered, after redirects."""
    status: int
    headers: httpx.Headers
    content: bytes


class Transfer:
    """Sends HTTP requests to one source; each takes at most `timeout_s` in total.

    Parameters
    ----------
    source
        Name of the source in sentences.
    counted_as
        The source whose bytes these are.
    """

    def __init__(self, source: str, timeout_s: float, counted_as: ReferenceSource) -> None:
        self._source = source
        self._counted_as = counted_as
        self._timeout_s = timeout_s
        self._client: httpx.AsyncClient | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        limit_bytes: int,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        is_secret: bool = False,
    ) -> Answer:
        """Send a request and return its answer, whatever its status.

        Redirects to the same host are followed. A GET without secrets is also redirected to
        other hosts, but never from https to http.

        Raises
        ------
        TransientError
            If the source is unreachable, is too slow, breaks off, or sends more than `limit_bytes`
            or less than it announced.
        """
        async with self._exchange(method, url, headers, json, is_secret=is_secret) as response:
            is_wanted = 200 <= response.status_code < 300
            content = bytearray()
            async for part in response.aiter_raw():
                content += part
                RECEIVED_BYTES.add(self._counted_as, len(part))
                if not is_wanted and len(content) > _REASON_LIMIT_BYTES:
                    break
                if is_wanted:
                    self._require_within(len(content), limit_bytes, url)
            return Answer(
                url=str(response.url),
                status=response.status_code,
                headers=response.headers,
                content=bytes(content if is_wanted else content[:_REASON_LIMIT_BYTES]),
            )

    async def download(self, url: str, destination: Path, size_bytes: int) -> None:
        """Download exactly `size_bytes` from `url` to `destination`, following redirects.

        Raises
        ------
        TransientError
            As `request`, and if the size or the status differs.
        """
        async with self._exchange("GET", url, None, None, is_secret=False) as response:
            if response.status_code != 200:
                raise refusal_of(self._source, response.status_code, response.headers, b"", url)
            received = 0
            with whole_file(destination) as file:
                async for part in response.aiter_raw():
                    received += len(part)
                    RECEIVED_BYTES.add(self._counted_as, len(part))
                    self._require_within(received, size_bytes, url)
                    file.write(part)
                if received != size_bytes:
                    raise TransientError(f"{self._source} sent {received} of {size_bytes} bytes of {url}")

    def refusal(self, answer: Answer, asked: str) -> SourceRefusal:
        """Return the error that an unexpected answer means."""
        return refusal_of(self._source, answer.status, answer.headers, answer.content, asked)

    async def close_idle(self) -> Connections:
        """Close the connections that no request uses."""
        return await close_idle([] if self._client is None else transports_of(self._client))

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    @asynccontextmanager
    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str] | None, json: Any, *, is_secret: bool
    ) -> AsyncIterator[httpx.Response]:
        if self._client is None:
            # A proxy of the environment is used, but never for this machine itself.
            self._client = httpx.AsyncClient(
                timeout=self._timeout_s, headers={"Accept-Encoding": "identity"}, mounts=dict(_LOOPBACK)
            )
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._send(self._client, method, url, headers, json, is_secret=is_secret)
                try:
                    yield response
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise TransientError(f"{self._source} took more than {self._timeout_s:g} s over {url}") from error
        except httpx.TimeoutException as error:
            raise TransientError(f"{self._source} fell silent over {url}") from error
        except (
            httpx.HTTPError,
            httpx.StreamError,
            httpx.InvalidURL,
            UnicodeError,
            OSError,
            EOFError,
        ) as error:
            raise TransientError(f"{self._source}: {type(error).__name__} over {url}: {error}") from error

    async def _send(
        self,
        client: httpx.AsyncClient,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        json: Any,
        *,
        is_secret: bool,
    ) -> httpx.Response:
        """Return the first answer that is not a redirect to follow; its body is unread."""
        place = httpx.URL(url)
        for _ in range(_MOST_REDIRECTS):
            request = client.build_request(method, place, headers=headers, json=json)
            try:
                response = await client.send(request, stream=True)
            except httpx.TransportError as error:
                if place == httpx.URL(url):
                    raise
                raise TransientError(
                    f"{self._source}: {type(error).__name__} over {url}, which sends us on to {place}: {error}"
                ) from error
            onward = _onward(method, place, response, is_secret=is_secret)
            if onward is None:
                return response
            await response.aclose()
            place = onward
        raise TransientError(f"{self._source} sends us in circles over {url}")

    def _require_within(self, received: int, limit_bytes: int, url: str) -> None:
        if received > limit_bytes:
            raise TransientError(f"{self._source} sent more than {limit_bytes} bytes of {url}")


def _onward(method: str, place: httpx.URL, response: httpx.Response, *, is_secret: bool) -> httpx.URL | None:
    """Return the target of a redirect that may be followed; else None."""
    keeps_method = response.status_code in (307, 308)
    if not (keeps_method or (method == "GET" and response.status_code in (301, 302, 303))):
        return None
    if not (target := response.headers.get("location")):
        return None
    onward = place.join(target)
    is_safe = onward.scheme == "https" or (onward.scheme == "http" and place.scheme == "http")
    is_same = (onward.host, onward.port) == (place.host, place.port)
    if place.scheme != onward.scheme:
        is_same = onward.host == place.host and onward.port is None and place.port is None
    return onward if is_safe and (is_same or (method == "GET" and not is_secret)) else None


class SingleFlight:
    """Runs at most one transfer per key; equal requests share one transfer."""

    def __init__(self) -> None:
        self._flights: dict[str, tuple[object, asyncio.Task[None]]] = {}

    async def run(self, key: str, request: object, transfer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `transfer`, or share the running one of an equal `request`.

        A cancelled caller leaves; the transfer continues for the others.
        """
        while (flight := self._flights.get(key)) is not None and flight[0] != request:
            await asyncio.wait([flight[1]])
        if flight is None:
            task = shared_task(transfer())
            self._flights[key] = (request, task)
            task.add_done_callback(lambda done: self._landed(key, done))
        else:
            task = flight[1]
        await asyncio.shield(task)

    async def stop(self) -> None:
        """Cancel every running transfer."""
        tasks = [task for _, task in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, key: str, task: asyncio.Task[None]) -> None:
        self._flights.pop(key, None)
        # Retrieves the error, in case every caller has been cancelled.
        if not task.cancelled():
            task.exception()


async def all_of(transfers: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run `transfers` together; the first error cancels the others and is raised."""
    tasks = [asyncio.create_task(transfer) for transfer in transfers]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def every_one(transfers: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run `transfers` together, each to its end; then raise the first error."""
    ends = await asyncio.gather(*transfers, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return [end for end in ends if not isinstance(end, BaseException)]
