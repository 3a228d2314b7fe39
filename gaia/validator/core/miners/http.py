"""HTTP exchanges with strangers, limited in time, size, rate and encoding."""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import httpx

from gaia.tasks.defined_tasks.weather.wire.messages import printable
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import GaiaError, MinerFault, MinerUnreachable, OwnFailure
from gaia.validator.utils.idle_connections import Connections, close_idle
from gaia.validator.utils.tallies import Totals

MAX_JSON_BYTES = 256 * 1024
RECEIVED_BYTES: Final = "received_bytes"
TIMEOUTS: Final = "timeouts"
MINERS_TALLY: Final = Totals([RECEIVED_BYTES, TIMEOUTS])
"""Bytes of bodies that miners sent to this process, and exchanges that were too slow."""
_MAX_ERROR_BYTES = 4096
_CONNECT_TIMEOUT_S = 10.0
_RATE_GRACE_S = 5.0
_KEPT_CONNECTIONS = 64
KEPT_S = 2.0
"""Seconds for which an idle connection is used again. Servers of miners close it after 5 s; at that moment, a busy
server drops a request unread."""
_KIB = 1024
_SERVER_ERROR = 500
# Refusals that may be temporary: the miner's metagraph is late, or our token old.
_PASSING = frozenset({401, 403, 408, 425, 429})
_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Connection": "keep-alive",
    "User-Agent": "gaia-validator",
}
# Errors that a server's bytes can cause: ssl.SSLError is an OSError; bad addresses and headers, a ValueError.
_STRANGE_ANSWERS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, EOFError, ValueError)
# Shortages of this machine, which no peer can cause.
_OUR_WANTS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer."""

    status: int
    body: bytes
    """Body; empty if a sink took it, and truncated if the status is an error."""

    @property
    def is_server_error(self) -> bool:
        return self.status >= _SERVER_ERROR

    def error(self, what: str) -> GaiaError:
        """Return the error of ours that an answer with this status means."""
        text = printable(self.body.decode("utf-8", "replace"))
        message = f"{what} was answered {self.status}: {text}"
        passing = self.is_server_error or self.status in _PASSING
        return MinerUnreachable(message) if passing else MinerFault(message)


class Deadline:
    """The remaining time of a miner, which stands still while the miner waits for us."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the time during the body, which waits for a process or a lock of ours."""
        ends_at = self._timeout.when()
        if ends_at is None or self._timeout.expired():
            yield
            return
        loop = asyncio.get_running_loop()
        left_s = ends_at - loop.time()
        self._timeout.reschedule(None)
        try:
            yield
        finally:
            self._timeout.reschedule(loop.time() + left_s)


@asynccontextmanager
async def deadline(seconds: float, what: str) -> AsyncIterator[Deadline]:
    """Limit the body to `seconds`, without its pauses; then raise `MinerUnreachable`."""
    try:
        async with asyncio.timeout(seconds) as timeout:
            yield Deadline(timeout)
    except TimeoutError as error:
        if not timeout.expired():
            raise
        MINERS_TALLY.add(TIMEOUTS)
        raise MinerUnreachable(f"{what} took longer than {seconds:g} s") from error


class MinerHttp:
    """HTTP client for servers that may be hostile.

    It follows no redirect, uses no proxy, keeps no cookie and decodes no content. It accepts any
    certificate, because miners' are self-signed and their manifests are signed with the hotkey.

    Parameters
    ----------
    timeout_s
        Longest silence within an exchange; use `deadline` for a total limit.
    min_rate_kib_s
        Least rate of a body after the first seconds.
    may_send
        Called before each request; it raises an error of ours if nothing may be sent now.
    """

    def __init__(
        self,
        timeout_s: float,
        min_rate_kib_s: float,
        rate_grace_s: float = _RATE_GRACE_S,
        may_send: Callable[[], None] = lambda: None,
    ) -> None:
        self._require_permission = may_send
        self._min_rate = min_rate_kib_s * _KIB
        self._rate_grace_s = rate_grace_s
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S))
        self._extensions = {"timeout": timeout.as_dict()}
        # A client above the transport would parse the stranger's Location and Set-Cookie.
        self._transport = httpx.AsyncHTTPTransport(
            verify=_any_certificate(),
            trust_env=False,
            # Callers limit the number of concurrent requests.
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS, keepalive_expiry=KEPT_S
            ),
        )

    async def close(self) -> None:
        await self._transport.aclose()

    async def close_idle(self) -> Connections:
        """Close the connections that no request uses."""
        return await close_idle([self._transport])

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        limit_bytes: int,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        sink: Callable[[bytes], object] | None = None,
    ) -> Reply:
        """Send one request; return the answer with any status.

        Parameters
        ----------
        limit_bytes
            Longest body of an answer with status 200.
        sink
            Takes the pieces of such a body instead of the reply; it may raise only errors of ours.

        Raises
        ------
        MinerUnreachable
            If the answer is incomplete or too slow.
        MinerFault
            If the answer is a redirect, encoded, or too long.
        OwnFailure
            If this machine lacks descriptors, ports or memory for a connection, or nothing may be sent now.
        """
        self._require_permission()
        with _answered_by_a_stranger(method):
            request = httpx.Request(
                method,
                url,
                headers={**_HEADERS, **(headers or {})},
                content=content,
                extensions=self._extensions,
            )
            async with aclosing(await self._transport.handle_async_request(request)) as response:
                if response.status_code != HTTPStatus.OK:
                    return await _read_refusal(response)
                _require_plain(response, limit_bytes)
                body = bytearray()
                async for piece in self._pieces(response, limit_bytes):
                    (sink or body.extend)(piece)
                return Reply(response.status_code, bytes(body))

    async def _pieces(self, response: httpx.Response, limit_bytes: int) -> AsyncIterator[bytes]:
        started = time.monotonic()
        received = 0
        async for piece in response.aiter_raw():
            received += len(piece)
            MINERS_TALLY.add(RECEIVED_BYTES, len(piece))
            if received > limit_bytes:
                raise MinerFault(f"body exceeds {limit_bytes} bytes")
            counted_s = time.monotonic() - started - self._rate_grace_s
            if received < counted_s * self._min_rate:
                MINERS_TALLY.add(TIMEOUTS)
                raise MinerUnreachable(f"body comes slower than {self._min_rate / _KIB:g} KiB/s")
            yield piece


@contextmanager
def _answered_by_a_stranger(method: str) -> Iterator[None]:
    """Translate errors of an exchange to errors of the miner, unless this machine lacks resources."""
    try:
        with border(Party.MINER, method):
            try:
                yield
            except _STRANGE_ANSWERS as error:
                if isinstance(error, httpx.TimeoutException):
                    MINERS_TALLY.add(TIMEOUTS)
                raise MinerUnreachable(f"{type(error).__name__}: {printable(str(error))}") from error
    except MinerUnreachable as error:
        if (want := _our_want(error)) is not None:
            raise OwnFailure(f"no connection can be opened: {want}") from error
        raise


def _our_want(error: BaseException | None) -> str | None:
    """Return what this machine lacks, if that is the cause of `error`; else None."""
    while error is not None:
        if isinstance(error, MemoryError):
            return "no memory"
        if isinstance(error, OSError) and error.errno in _OUR_WANTS:
            return error.strerror
        # httpcore hides the cause of its errors, but keeps the context.
        error = error.__cause__ or error.__context__
    return None


async def _read_refusal(response: httpx.Response) -> Reply:
    if response.is_redirect:
        raise MinerFault(f"answered {response.status_code}, a redirect")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        MINERS_TALLY.add(RECEIVED_BYTES, len(piece))
        if len(body) >= _MAX_ERROR_BYTES:
            break
    return Reply(response.status_code, bytes(body[:_MAX_ERROR_BYTES]))


def _require_plain(response: httpx.Response, limit_bytes: int) -> None:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise MinerFault(f"body has content encoding {printable(encoding, 32)}")
    length = response.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length) > limit_bytes:
        raise MinerFault(f"body of {printable(length, 32)} bytes exceeds {limit_bytes}")


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
