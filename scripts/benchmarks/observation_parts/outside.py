"""The outside of the benchmarked engine, in processes of their own: web services, and those who visit its endpoints.

python -m benchmarks.observation_parts.outside services                      web services; prints their port
python -m benchmarks.observation_parts.outside visits PORT SCRAPE_S BROWSE_S  visits until it is ended
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

PROBE_EVERY_S = 10.0
_METRIC = b"gaia_io_event_loop_lag_seconds"
_RELEASE = b"v99.0.0"


def main(arguments: Sequence[str]) -> None:
    if arguments[0] == "services":
        asyncio.run(_serve())
    else:
        _visit(int(arguments[1]), float(arguments[2]), float(arguments[3]))


async def _serve() -> None:
    """Serve a webhook, a deadman switch, releases, idle connections and Earthdata Login until standard input ends."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.to_thread(sys.stdin.read)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer all requests of one connection, which stays open."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, _ = head.split(" ", 2)
            length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
            await reader.readexactly(int(length or 0))
            body = _content(method, path)
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _content(method: str, path: str) -> bytes:
    if path.startswith("/api/users/"):
        # The date is near, so that a token is listed, revoked and made again at each beat.
        date = f"{datetime.now(UTC) + timedelta(days=30):%m/%d/%Y}"
        token = {"access_token": "a-token", "token_type": "Bearer", "expiration_date": date}
        return json.dumps([] if method == "GET" else token).encode()
    return _RELEASE


def _visit(port: int, scrape_every_s: float, browse_every_s: float) -> None:
    """Visit the endpoints as Prometheus, a probe and a browser do; end with code 1 if one is not answered."""
    for every_s, paths in (
        (scrape_every_s, ["/metrics"]),
        (PROBE_EVERY_S, ["/livez", "/readyz"]),
        (browse_every_s, ["/", "/leaderboard.html"]),
    ):
        threading.Thread(target=_guarded, args=(port, every_s, paths), daemon=True).start()
    print("ready", flush=True)
    _failed.wait()
    sys.exit(1)


_failed = threading.Event()


def _guarded(port: int, every_s: float, paths: Sequence[str]) -> None:
    try:
        while True:
            for path in paths:
                _ask(port, path)
            time.sleep(every_s)
    finally:
        _failed.set()


def _ask(port: int, path: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        # A page that is not made yet, or a check that fails, is an answer too.
        content = error.read()
        if path == "/metrics" or error.code != 503:
            raise
    if path == "/metrics" and _METRIC not in content:
        raise ValueError("the answer holds no metrics")


if __name__ == "__main__":
    main(sys.argv[1:])
