"""What counts as an answer of the database: a byte on a real socket, and nothing that the kernel does alone."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from gaia.validator.app.children.postgres_ping import PostgresPing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server"


@pytest.fixture
def server(path: Path) -> Iterator[socket.socket]:
    """A socket that listens, and whose clients nobody accepts unless the test does."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        yield listener


@pytest.fixture
def ping(path: Path) -> Iterator[PostgresPing]:
    ping = PostgresPing(path, every_s=5.0)
    yield ping
    ping.close()


def answer(server: socket.socket, words: bytes = b"N") -> bytes:
    """Accept one client, answer it and hang up; return what it asked."""
    client, _ = server.accept()
    with client:
        asked = client.recv(64)
        client.sendall(words)
    return asked


def test_question_is_a_request_for_encryption(server: socket.socket, ping: PostgresPing) -> None:
    ping.look(0.0)

    length, code = struct.unpack("!ii", answer(server))
    assert (length, code >> 16, code & 0xFFFF) == (8, 1234, 5679)


@pytest.mark.parametrize("words", [b"N", b"S", b"E\0\0\0\0could not fork"])
def test_any_byte_is_an_answer(server: socket.socket, ping: PostgresPing, words: bytes) -> None:
    ping.look(0.0)
    answer(server, words)

    ping.look(3.0)

    assert ping.unanswered_s(3.0) == 0.0


def test_server_that_hangs_up_without_a_word_has_not_answered(
    server: socket.socket, ping: PostgresPing
) -> None:
    ping.look(0.0)
    answer(server, b"")

    ping.look(3.0)

    assert ping.unanswered_s(3.0) == 3.0


@pytest.mark.usefixtures("server")
def test_connection_that_only_the_kernel_made_is_no_answer(ping: PostgresPing) -> None:
    for now in range(60):  # which fills the queue of the socket, too
        ping.look(float(now))

    assert ping.unanswered_s(60.0) == 60.0


def test_missing_socket_is_no_answer(ping: PostgresPing) -> None:
    ping.look(0.0)
    ping.look(31.0)

    assert ping.unanswered_s(31.0) == 31.0


def test_server_that_was_paused_answers_all_it_was_asked(server: socket.socket, ping: PostgresPing) -> None:
    ping.look(0.0)
    ping.look(5.0)

    answer(server)
    answer(server)
    ping.look(9.0)

    assert ping.unanswered_s(9.0) == 0.0


def test_question_is_asked_once_in_an_interval(server: socket.socket, ping: PostgresPing) -> None:
    for now in (0.0, 0.1, 4.9):
        ping.look(now)
    answer(server)

    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.accept()


@pytest.mark.usefixtures("server")
def test_lack_of_descriptors_of_ours_is_no_silence_of_the_server(
    ping: PostgresPing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack(*_: Any) -> NoReturn:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(socket, "socket", lack)
    ping.look(0.0)

    assert ping.unanswered_s(31.0) == 0.0
