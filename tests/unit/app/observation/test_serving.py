"""The small HTTP server: what it answers, and what no client can take from it."""

from __future__ import annotations

import errno
import http.client
import json
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import pytest

from gaia.validator.app.observation import serving
from gaia.validator.app.observation.serving import Answer, Request, ServingThread, text_answer
from tests.support.patience import patience

Asking = Callable[[bytes], bytes]


def answering(request: Request) -> Answer | None:
    if request.path == "/fault":
        raise RuntimeError("a bug")
    if request.path == "/large":
        return text_answer(HTTPStatus.OK, "x" * 4_000_000)
    if request.path == "/seen":
        return text_answer(HTTPStatus.OK, json.dumps([request.path, request.is_verbose]))
    return text_answer(HTTPStatus.OK, "ok\n") if request.path == "/livez" else None


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def address(listener: socket.socket) -> Iterator[tuple[str, int]]:
    thread = ServingThread(listener, answering)
    yield listener.getsockname()
    thread.stop()


def connected(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=patience(20))


def said(address: tuple[str, int], request: bytes) -> bytes:
    """Send the bytes, and return all that comes back until the server closes."""
    with connected(address) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


def test_get_is_answered_and_the_connection_closed(address: tuple[str, int]) -> None:
    connection = http.client.HTTPConnection(*address, timeout=patience(20))
    connection.request("GET", "/livez")
    reply = connection.getresponse()

    assert (reply.status, reply.read()) == (200, b"ok\n")
    assert reply.headers["Connection"] == "close"
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-store"


def test_head_is_answered_without_a_body(address: tuple[str, int]) -> None:
    head, _, body = said(address, b"HEAD /livez HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 3" in head
    assert body == b""


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        (b"GET /nothing HTTP/1.1", 404),
        (b"GET /livez/ HTTP/1.1", 404),
        (b"GET /livez?verbose HTTP/1.0", 200),
        (b"POST /livez HTTP/1.1", 405),
        (b"DELETE /nothing HTTP/1.1", 405),
        (b"GET /livez", 400),
        (b"GET /livez HTTP/2", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b" ", 400),
    ],
)
def test_each_request_has_its_status(request_line: bytes, answer: int, address: tuple[str, int]) -> None:
    assert status(said(address, request_line + b"\r\n\r\n")) == answer


def test_refused_method_is_told_which_are_allowed_although_it_sent_a_body(address: tuple[str, int]) -> None:
    body = b"x" * 50_000

    reply = said(address, b"POST /livez HTTP/1.1\r\nContent-Length: 50000\r\n\r\n" + body)

    assert b"Allow: GET, HEAD\r\n" in reply


@pytest.mark.parametrize(
    ("target", "is_verbose"),
    [("/seen", False), ("/seen?verbose", True), ("/seen?a=1&verbose=1", True), ("/seen?verbosely", False)],
)
def test_query_says_whether_the_answer_is_verbose(
    target: str, *, is_verbose: bool, address: tuple[str, int]
) -> None:
    reply = said(address, f"GET {target} HTTP/1.1\r\n\r\n".encode())

    assert json.loads(reply.partition(b"\r\n\r\n")[2]) == ["/seen", is_verbose]


def test_request_that_is_too_long_is_refused(address: tuple[str, int]) -> None:
    long = b"GET /livez HTTP/1.1\r\nX: " + b"x" * (2 * serving.LONGEST_HEAD)

    assert status(said(address, long)) == 431


def test_request_may_come_letter_by_letter(address: tuple[str, int]) -> None:
    with connected(address) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for letter in b"GET /livez HTTP/1.1\r\n\r\n":
            client.sendall(bytes((letter,)))

        assert status(client.recv(65536)) == 200


def test_answer_that_fills_every_buffer_arrives_whole(address: tuple[str, int]) -> None:
    with connected(address) as client:
        client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        time.sleep(0.2)
        whole = b"".join(iter(lambda: client.recv(65536), b""))

    assert len(whole.partition(b"\r\n\r\n")[2]) == 4_000_000


def test_fault_of_an_endpoint_is_logged_without_what_the_client_sent(
    address: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        reply = said(address, b"GET /fault?secret=hush HTTP/1.1\r\nCookie: hush\r\n\r\n")
        assert status(said(address, b"GET /livez HTTP/1.1\r\n\r\n")) == 200

    assert status(reply) == 500
    assert "endpoint_failed" in caplog.text
    assert "hush" not in caplog.text
    assert b"bug" not in reply


def test_slow_clients_are_dismissed_and_hold_up_nobody(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "PATIENCE_S", patience(1.0))
    slow = [connected(address) for _ in range(serving.MOST_CLIENTS - 1)]
    for client in slow:
        client.sendall(b"GET /li")

    assert status(said(address, b"GET /livez HTTP/1.1\r\n\r\n")) == 200

    for client in slow:
        assert client.recv(100) == b""
        client.close()


def test_more_clients_than_places_wait_until_a_place_is_free(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "PATIENCE_S", 0.5)
    threads = threading.active_count()
    slow = [connected(address) for _ in range(3 * serving.MOST_CLIENTS)]

    assert status(said(address, b"GET /livez HTTP/1.1\r\n\r\n")) == 200

    assert threading.active_count() <= threads
    for client in slow:
        client.close()


def test_two_that_share_the_socket_answer_every_client_once(listener: socket.socket) -> None:
    with listener.dup() as same:
        threads = [ServingThread(listener, answering), ServingThread(same, answering)]

        replies = [said(listener.getsockname(), b"GET /livez HTTP/1.1\r\n\r\n") for _ in range(50)]

        for thread in threads:
            thread.stop()
    assert {status(reply) for reply in replies} == {200}


def test_stopped_server_leaves_later_clients_to_the_next(listener: socket.socket) -> None:
    ServingThread(listener, lambda _: text_answer(HTTPStatus.OK, "first")).stop()

    with connected(listener.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        second = ServingThread(listener, lambda _: text_answer(HTTPStatus.OK, "second"))
        assert client.recv(65536).endswith(b"second")
        second.stop()


def test_stop_lets_a_client_that_was_accepted_finish(listener: socket.socket) -> None:
    entered = threading.Event()

    def slowly(_: Request) -> Answer:
        entered.set()
        time.sleep(0.2)
        return text_answer(HTTPStatus.OK, "done")

    thread = ServingThread(listener, slowly)
    with connected(listener.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        entered.wait()
        thread.stop()

        assert client.recv(65536).endswith(b"done")


def test_system_without_means_for_another_watch_delays_a_client_and_ends_nobody(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Scarce(selectors.DefaultSelector):
        refusals = 0

        def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
            if isinstance(data, serving.Reception) and fileobj is not listener and not Scarce.refusals:
                Scarce.refusals += 1
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().register(fileobj, events, data)

    monkeypatch.setattr(selectors, "DefaultSelector", Scarce)
    monkeypatch.setattr(serving, "_PAUSE_S", 0.05)
    thread = ServingThread(listener, answering)

    with connected(listener.getsockname()) as client:
        assert client.recv(1) == b""
    assert status(said(listener.getsockname(), b"GET /livez HTTP/1.1\r\n\r\n")) == 200

    thread.stop()
    assert caplog.text.count("endpoints_paused") == 1
