"""A database server that refuses, breaks off or lies is a finding in words, never an accident of doctor."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from gaia.validator.doctor.looks.database import look_at_server
from gaia.validator.doctor.sight import Trouble
from gaia.validator.utils.config import Settings

Talk = Callable[[socket.socket], None]
_SSL_REQUEST = 80877103


def message(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("!i", 4 + len(content)) + content


def error(code: str, words: str) -> bytes:
    return message(b"E", f"SERROR\0VERROR\0C{code}\0M{words}\0\0".encode())


def parameter(name: str, value: str) -> bytes:
    return message(b"S", f"{name}\0{value}\0".encode())


LETS_IN = (
    message(b"R", struct.pack("!i", 0))
    + parameter("server_version", "18.0")
    + parameter("client_encoding", "UTF8")
    + message(b"Z", b"I")
)


@contextmanager
def a_server(talk: Talk) -> Iterator[int]:
    """Serve each connection with `talk` until the body ends; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    try:
                        talk(peer)
                    except OSError:
                        continue  # doctor went away, as it should

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def _read_start(peer: socket.socket) -> None:
    """Read the first message of a session; decline encryption."""
    length, code = struct.unpack("!ii", peer.recv(8, socket.MSG_WAITALL))
    peer.recv(length - 8, socket.MSG_WAITALL)
    if code == _SSL_REQUEST:
        peer.sendall(b"N")
        _read_start(peer)


def after_login(answer: bytes) -> Talk:
    """Return a server that lets everybody in, answers the first statement with these bytes, and hangs up."""

    def talk(peer: socket.socket) -> None:
        _read_start(peer)
        peer.sendall(LETS_IN)
        peer.recv(65536)
        peer.sendall(answer)

    return talk


def at_login(answer: bytes) -> Talk:
    """Return a server that answers the login with these bytes, and hangs up."""

    def talk(peer: socket.socket) -> None:
        _read_start(peer)
        peer.sendall(answer)

    return talk


def resets(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


SERVERS: dict[str, tuple[Talk, str]] = {
    "hangs up": (lambda peer: None, ""),
    "resets": (resets, ""),
    "speaks http": (lambda peer: peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ""),
    "refuses the role": (at_login(error("28000", "no entry for host")), "no entry for host"),
    "is full": (at_login(error("53300", "too many clients already")), "too many clients"),
    "asks for unknown proof": (at_login(message(b"R", struct.pack("!i", 99))), ""),
    "sends half a message": (at_login(b"R\x00\x00\x00"), ""),
    "hangs up after the login": (after_login(b""), "lets us in"),
    "refuses a statement": (
        after_login(error("42501", "permission denied for view pg_roles") + message(b"Z", b"I")),
        "permission denied for view pg_roles",
    ),
    "crashes": (after_login(error("57P02", "terminating connection because of crash")), "lets us in"),
    "answers nonsense": (after_login(message(b"T", b"\x00\x05rubbish")), "lets us in"),
    "sends an unknown message": (after_login(message(b"?", b"rubbish")), "lets us in"),
}


@pytest.mark.parametrize("name", SERVERS)
def test_server_that_misbehaves_is_a_finding_in_words(name: str) -> None:
    talk, words = SERVERS[name]
    with a_server(talk) as port:
        settings = Settings(database_host="127.0.0.1", database_port=port, database_timeout_s=2.0)

        found = look_at_server(settings.database, settings.files)

    assert isinstance(found, Trouble)
    assert words in found.words
    assert found.words.strip()


@pytest.mark.parametrize(
    "url",
    ["postgresql://127.0.0.1:99999/gaia", f"postgresql://{'h' * 80}.example/gaia", "postgresql://[::1/gaia"],
)
def test_address_that_names_no_server_is_a_finding_in_words(url: str) -> None:
    settings = Settings(database_url=url)  # type: ignore[arg-type]

    assert isinstance(look_at_server(settings.database, settings.files), Trouble)
