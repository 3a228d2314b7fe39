"""Which Host a request may name, so that no web page reads what is served to this machine."""

from __future__ import annotations

import socket
from http import HTTPStatus

import pytest

from gaia.validator.app.observation.serving import Answer, Request, ServingThread, text_answer
from gaia.validator.utils.machine.hosts import Addressee
from tests.support.patience import patience


@pytest.mark.parametrize(
    ("bound", "host", "is_meant"),
    [
        ("127.0.0.1", "localhost:9090", True),
        ("127.0.0.1", "127.0.0.1:9090", True),
        ("127.0.0.1", "[::1]:9090", True),
        ("127.0.0.1", "::1", True),
        ("127.0.0.1", "gaia.localhost", True),
        ("127.0.0.1", "Gaia.Example.org.:9090", True),
        ("127.0.0.1", "evil.example:9090", False),
        ("127.0.0.1", "localhost.evil.example", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "10.0.0.7:9090", False),
        ("127.0.0.1", "", False),
        ("0.0.0.0", "10.0.0.7:9090", True),
        ("0.0.0.0", "[fe80::1]:9090", True),
        ("0.0.0.0", "gaia.example.org:9090", True),
        ("0.0.0.0", "evil.example:9090", False),
    ],
)
def test_foreign_names_are_not_ours(bound: str, host: str, *, is_meant: bool) -> None:
    with socket.create_server((bound, 0)) as listener:
        assert Addressee(listener, ["gaia.example.org"]).is_meant(host) is is_meant


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Host: 127.0.0.1\r\n", 200),
        (b"host:gaia.example.org:9090\r\n", 200),
        (b"", 200),
        (b"Host: rebound.example\r\n", 421),
        (b"Host: 127.0.0.1\r\nHost: rebound.example\r\n", 400),
    ],
)
def test_page_whose_name_resolves_to_this_machine_gets_nothing(fields: bytes, status: int) -> None:
    def answering(_: Request) -> Answer:
        return text_answer(HTTPStatus.OK, "hotkeys and scores")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = ServingThread(listener, answering, ["gaia.example.org"])
        with socket.create_connection(listener.getsockname(), timeout=patience(20)) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n" + fields + b"\r\n")
            reply = b"".join(iter(lambda: client.recv(65536), b""))
        thread.stop()

    assert int(reply.split(b" ", 2)[1]) == status
    assert (b"hotkeys" in reply) is (status == 200)
