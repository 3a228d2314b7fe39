"""Short HTTP exchanges of the background tasks, bounded in time and size."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from gaia.validator.utils.errors import TransientError

MOST_BYTES = 1 << 20
_LOOPBACK: Mapping[str, None] = {"all://127.0.0.1": None, "all://localhost": None}


@dataclass(frozen=True, slots=True)
class Page:
    """An answer of any status."""

    status: int
    content: bytes


async def exchange(
    method: str,
    url: str,
    *,
    what: str,
    timeout_s: float,
    login: tuple[str, str] | None = None,
    query: Mapping[str, str] | None = None,
) -> Page:
    """Send one request on a connection of its own; follow no redirect.

    Parameters
    ----------
    what
        Name of the other side. Errors name it in place of the address, whose query may be secret.

    Raises
    ------
    TransientError
        If there is no complete answer in time, or it has more than `MOST_BYTES`.
    """
    trusted = await asyncio.to_thread(_trusted)
    try:
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(
                timeout=timeout_s, mounts=dict(_LOOPBACK), auth=login, verify=trusted
            ) as client,
            client.stream(method, url, params=query) as response,
        ):
            content = bytearray()
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > MOST_BYTES:
                    raise TransientError(f"{what} sent more than {MOST_BYTES} bytes")
            return Page(response.status_code, bytes(content))
    except TimeoutError as error:
        raise TransientError(f"{what} did not answer in {timeout_s:g} s") from error
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError, ValueError) as error:
        # The text of these errors may repeat the address.
        raise TransientError(f"{what} cannot be reached ({type(error).__name__})") from None


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Return the authorities that this machine trusts, read once: that takes a loop's time, for each client anew."""
    return httpx.create_ssl_context()
