"""What one exchange with a server of raw bytes may cost, and what each answer means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uvicorn

from gaia.miner.sessions import write_certificate
from gaia.validator.core.miners import http as miners_http
from gaia.validator.core.miners.http import MINERS_TALLY, MinerHttp, Reply, deadline
from gaia.validator.utils.borders import UNFORESEEN, Party
from gaia.validator.utils.errors import MinerFault, MinerUnreachable, OwnFailure
from tests.support.liars import beneath_tls, liar
from tests.support.patience import patience
from tests.support.scarcity import no_descriptors_left

OK = b"HTTP/1.1 200 OK\r\n"
Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server that answers every connection with given pieces; returns its address."""
    servers: list[asyncio.Server] = []
    answers: set[asyncio.Task[None]] = set()

    async def start(*pieces: bytes, pause_s: float = 0.0, requests: list[bytes] | None = None) -> str:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            answers.add(task)
            request = await reader.readuntil(b"\r\n\r\n")
            if requests is not None:
                requests.append(request)
            try:
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(pause_s)
            finally:
                writer.close()

        servers.append(await asyncio.start_server(answer, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}/"

    yield start
    for task in answers:
        task.cancel()
    await asyncio.gather(*answers, return_exceptions=True)
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def http(serve: Serve) -> AsyncIterator[MinerHttp]:
    client = MinerHttp(timeout_s=patience(2.0), min_rate_kib_s=64.0, rate_grace_s=0.05)
    yield client
    await client.close()


async def test_body_within_the_limit_is_returned(serve: Serve, http: MinerHttp) -> None:
    url = await serve(OK + b"Content-Length: 5\r\n\r\nhello")

    assert await http.exchange("GET", url, limit_bytes=5) == Reply(200, b"hello")


async def test_bytes_of_every_body_are_counted_of_use_or_not(serve: Serve, http: MinerHttp) -> None:
    before = dict(MINERS_TALLY.items())["received_bytes"]

    await http.exchange("GET", await serve(OK + b"Content-Length: 5\r\n\r\nhello"), limit_bytes=5)
    await http.exchange("GET", await serve(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"), limit_bytes=5)

    assert dict(MINERS_TALLY.items())["received_bytes"] == before + 7


async def test_answer_that_is_too_slow_is_a_timeout_and_a_broken_one_is_not(
    serve: Serve, http: MinerHttp
) -> None:
    before = dict(MINERS_TALLY.items())["timeouts"]

    with pytest.raises(MinerUnreachable):
        await http.exchange("GET", await serve(OK + b"Content-Length: 50\r\n\r\nshort"), limit_bytes=500)
    broken = dict(MINERS_TALLY.items())["timeouts"]
    with pytest.raises(MinerUnreachable):
        await http.exchange("GET", await serve(OK + b"\r\n", *[b"x"] * 50, pause_s=0.03), limit_bytes=500)
    trickling = dict(MINERS_TALLY.items())["timeouts"]
    silent = await serve(b"HTTP/1.1 ", b"200", pause_s=60.0)
    with pytest.raises(MinerUnreachable):
        async with deadline(0.05, "manifest"):
            await http.exchange("GET", silent, limit_bytes=500)

    assert (broken, trickling) == (before, before + 1)
    assert dict(MINERS_TALLY.items())["timeouts"] == before + 2


async def test_request_asks_for_identity_and_keeps_no_cookie(serve: Serve, http: MinerHttp) -> None:
    requests: list[bytes] = []
    url = await serve(OK + b"Set-Cookie: a=b\r\nContent-Length: 0\r\n\r\n", requests=requests)

    for _ in range(2):
        await http.exchange("GET", url, limit_bytes=5)

    assert all(b"accept-encoding: identity" in request.lower() for request in requests)
    assert not any(b"cookie" in request.lower() for request in requests)


async def test_sink_takes_the_body_instead_of_the_reply(serve: Serve, http: MinerHttp) -> None:
    taken = bytearray()
    url = await serve(OK + b"Content-Length: 5\r\n\r\nhello")

    reply = await http.exchange("GET", url, limit_bytes=5, sink=taken.extend)

    assert (reply.body, bytes(taken)) == (b"", b"hello")


async def test_body_of_unknown_length_is_cut_at_the_limit(serve: Serve, http: MinerHttp) -> None:
    url = await serve(OK + b"\r\n", b"x" * 100)

    with pytest.raises(MinerFault, match="exceeds 50 bytes"):
        await http.exchange("GET", url, limit_bytes=50)


async def test_body_that_trickles_is_given_up(serve: Serve, http: MinerHttp) -> None:
    url = await serve(OK + b"\r\n", *[b"x"] * 50, pause_s=0.03)

    with pytest.raises(MinerUnreachable, match="slower than 64 KiB/s"):
        await http.exchange("GET", url, limit_bytes=500)


async def test_interim_answers_without_end_are_ended_by_the_deadline(serve: Serve, http: MinerHttp) -> None:
    url = await serve(*[b"HTTP/1.1 103 Early Hints\r\n\r\n"] * 200, pause_s=0.01)

    with pytest.raises(MinerUnreachable, match=r"hints took longer than 0\.2 s"):
        async with deadline(0.2, "hints"):
            await http.exchange("GET", url, limit_bytes=500)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        OK + b"Content-Length: 50\r\n\r\nshort",
        OK + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n",
    ],
    ids=["nothing", "nonsense", "cut short", "header bomb"],
)
async def test_no_whole_answer_means_unreachable(serve: Serve, http: MinerHttp, answer: bytes) -> None:
    url = await serve(answer)

    with pytest.raises(MinerUnreachable):
        await http.exchange("GET", url, limit_bytes=500)


async def test_connection_that_its_server_may_be_closing_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_uvicorn = uvicorn.Config("miner").timeout_keep_alive
    assert of_uvicorn > 2 * miners_http.KEPT_S
    connections = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK + b"Content-Length: 2\r\n\r\nhi")
        await reader.read(1)
        writer.close()
        await writer.wait_closed()
        closed.release()

    closed = asyncio.Semaphore(0)
    server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    monkeypatch.setattr(miners_http, "KEPT_S", 0.0)  # the time is over at once
    http = MinerHttp(timeout_s=patience(2.0), min_rate_kib_s=64.0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        for _ in range(3):
            assert (await http.exchange("GET", url, limit_bytes=10)).body == b"hi"
    finally:
        await http.close()
        server.close()
        for _ in connections:
            await closed.acquire()

    assert len(connections) == 3


async def test_closed_port_means_unreachable(serve: Serve, http: MinerHttp) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()

    with pytest.raises(MinerUnreachable, match="ConnectError"):
        await http.exchange("GET", f"http://127.0.0.1:{port}/", limit_bytes=500)


async def test_refusal_is_returned_cut_short(serve: Serve, http: MinerHttp) -> None:
    url = await serve(b"HTTP/1.1 500 No\r\n\r\n", b"x" * 10_000)

    reply = await http.exchange("GET", url, limit_bytes=5)

    assert (reply.status, len(reply.body), reply.is_server_error) == (500, 4096, True)


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:1/",
        "javascript:1",
        "http://xn--/",
        "http://[",
        "//:99999",
        "http://a b/",
        "\xff",
        "",
    ],
)
async def test_redirect_is_not_even_read(serve: Serve, http: MinerHttp, location: str) -> None:
    answer = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    url = await serve(answer.encode("latin-1"))

    with pytest.raises(MinerFault, match="redirect"):
        await http.exchange("GET", url, limit_bytes=5)


NO_TLS = [
    b"garbage",
    b"HTTP/1.1 200 OK\r\n\r\n",
    bytes(64),
    b"\x17\x03\x03\x00\x04abcd",
    b"\x15\x03\x03\x00\x02\x02\x28",
]


@pytest.mark.parametrize("record", NO_TLS)
async def test_bytes_that_are_no_tls_after_the_handshake_mean_unreachable(
    http: MinerHttp, tmp_path: Path, record: bytes
) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        beneath_tls(writer, record)
        await asyncio.Event().wait()

    async with liar(answer, write_certificate(tmp_path)) as url:
        with pytest.raises(MinerUnreachable, match="SSL"):
            await http.exchange("GET", url, limit_bytes=500)


async def test_error_that_nobody_foresaw_is_the_miners_and_is_counted(serve: Serve, http: MinerHttp) -> None:
    def broken(content: bytes) -> None:
        raise KeyError("a bug of ours, or of a library")

    before = UNFORESEEN[Party.MINER]
    url = await serve(OK + b"Content-Length: 5\r\n\r\nhello")

    with pytest.raises(MinerUnreachable, match="KeyError"):
        await http.exchange("GET", url, limit_bytes=5, sink=broken)
    assert UNFORESEEN[Party.MINER] == before + 1


async def test_want_of_descriptors_is_not_the_miners_fault(serve: Serve, http: MinerHttp) -> None:
    url = await serve(b"")
    with pytest.raises(MinerUnreachable):
        await http.exchange("GET", url, limit_bytes=5)

    with pytest.raises(OwnFailure, match="Too many open files"), no_descriptors_left():
        await http.exchange("GET", url, limit_bytes=5)


async def test_deadline_stands_still_while_the_miner_waits_for_us() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def converse() -> None:
        async with deadline(0.2, "call") as limit:
            with limit.paused():
                await asyncio.sleep(0.4)
            await asyncio.Event().wait()

    with pytest.raises(MinerUnreachable, match=r"call took longer than 0\.2 s"):
        await converse()
    assert loop.time() - started >= 0.6


async def test_timeout_of_something_else_is_not_the_deadlines() -> None:
    with pytest.raises(TimeoutError, match="another"):
        async with deadline(60.0, "call"):
            raise TimeoutError("another")


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (400, MinerFault),
        (401, MinerUnreachable),
        (403, MinerUnreachable),
        (404, MinerFault),
        (422, MinerFault),
        (429, MinerUnreachable),
        (500, MinerUnreachable),
        (502, MinerUnreachable),
    ],
)
def test_status_says_whether_a_later_attempt_may_succeed(status: int, meaning: type[Exception]) -> None:
    error = Reply(status, b"no\x00pe").error("poll")

    assert type(error) is meaning
    assert str(error) == f"poll was answered {status}: no pe"
