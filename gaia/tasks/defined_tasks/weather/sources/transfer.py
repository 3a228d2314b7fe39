"""Bounded requests to data sources, and files that appear whole or not at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx

from gaia.validator.utils.errors import DeadlineExceeded, TransientError

T = TypeVar("T")

_LOOPBACK: Mapping[str, None] = {"all://127.0.0.1": None, "all://localhost": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer: any status but 429 and 5xx."""

    status: int
    headers: httpx.Headers
    content: bytes


class Transfer:
    """Speaks HTTP to one source, each request within `timeout_s` from beginning to end."""

    def __init__(self, source: str, timeout_s: float) -> None:
        self._source = source
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
    ) -> Answer:
        """Send a request and return its answer.

        Raises
        ------
        TransientError
            If the source is busy, broken or unreachable, is too slow, or sends
            more than `limit_bytes` or less than it announced.
        """
        async with self._exchange(method, url, headers, json) as response:
            content = bytearray()
            async for part in response.aiter_raw():
                content += part
                self._require_within(len(content), limit_bytes, url)
            return Answer(status=response.status_code, headers=response.headers, content=bytes(content))

    async def download(self, url: str, destination: Path, size_bytes: int) -> None:
        """Store what `url` holds, exactly `size_bytes`, at `destination`; follows redirects.

        Raises
        ------
        TransientError
            As `request`, and if the size or the status is another.
        """
        async with self._exchange("GET", url, None, None, follow_redirects=True) as response:
            if response.status_code != 200:
                raise TransientError(f"{self._source} answered {response.status_code} to {url}")
            received = 0
            with whole_file(destination) as file:
                async for part in response.aiter_raw():
                    received += len(part)
                    self._require_within(received, size_bytes, url)
                    file.write(part)
                if received != size_bytes:
                    raise TransientError(f"{self._source} sent {received} of {size_bytes} bytes of {url}")

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        json: Any,
        follow_redirects: bool = False,
    ) -> AsyncIterator[httpx.Response]:
        if self._client is None:
            # A proxy named in the environment is used, but never for this machine itself.
            self._client = httpx.AsyncClient(
                timeout=self._timeout_s, headers={"Accept-Encoding": "identity"}, mounts=dict(_LOOPBACK)
            )
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(
                    method, url, headers=headers, json=json, follow_redirects=follow_redirects
                ) as response,
            ):
                if response.status_code == 429 or response.status_code >= 500:
                    raise TransientError(f"{self._source} answered {response.status_code} to {url}")
                yield response
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"{self._source} took more than {self._timeout_s:g} s over {url}"
            ) from error
        except httpx.TimeoutException as error:
            raise DeadlineExceeded(f"{self._source} fell silent over {url}") from error
        except (httpx.TransportError, httpx.StreamError, httpx.TooManyRedirects) as error:
            raise TransientError(f"{self._source}: {type(error).__name__} over {url}: {error}") from error

    def _require_within(self, received: int, limit_bytes: int, url: str) -> None:
        if received > limit_bytes:
            raise TransientError(f"{self._source} sent more than {limit_bytes} bytes of {url}")


class SingleFlight:
    """Never runs two transfers of one key at once; the same request made twice is one."""

    def __init__(self) -> None:
        self._flights: dict[str, tuple[object, asyncio.Task[None]]] = {}

    async def run(self, key: str, request: object, transfer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `transfer`, or share the one under way for an equal `request`.

        A caller that is cancelled leaves; the transfer goes on for the others.
        """
        while (flight := self._flights.get(key)) is not None and flight[0] != request:
            await asyncio.wait([flight[1]])
        if flight is None:
            task = asyncio.create_task(transfer())
            self._flights[key] = (request, task)
            task.add_done_callback(lambda done: self._landed(key, done))
        else:
            task = flight[1]
        await asyncio.shield(task)

    async def stop(self) -> None:
        """Cancel every transfer under way."""
        tasks = [task for _, task in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, key: str, task: asyncio.Task[None]) -> None:
        self._flights.pop(key, None)
        # Marks the error as seen where every caller has been cancelled.
        if not task.cancelled():
            task.exception()


async def all_of(transfers: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run `transfers` together; the first error ends the others and is raised as it is."""
    tasks = [asyncio.create_task(transfer) for transfer in transfers]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def whole_file(destination: Path) -> Iterator[BinaryIO]:
    """Open a draft that becomes `destination` when the body ends well, and vanishes when it does not."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    draft = destination.with_name(f"{destination.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            yield file
        draft.replace(destination)
    finally:
        draft.unlink(missing_ok=True)
