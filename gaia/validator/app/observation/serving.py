"""A small HTTP server on a given socket: one thread or one selector, and a bound on everything a client can take.

It answers GET and HEAD, reads nothing but the head of a request, and closes the connection after each answer.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus

from gaia.validator.app.logging_config import event
from gaia.validator.utils.machine.hosts import Addressee

MOST_CLIENTS = 32
"""Clients that are served at the same time; others wait in the kernel's queue."""
LONGEST_HEAD = 8192
"""Bytes that a request may have."""
PATIENCE_S = 5.0
"""Seconds that one client may take, from its connection to the end of its answer."""
TEXT = "text/plain; charset=utf-8"

_LAST_WORDS_S = 1.0
_PAUSE_S = 1.0
_MOST_DISCARDED = 16 * LONGEST_HEAD
_HEAD_ENDS = (b"\r\n\r\n", b"\n\n")
_READS = ("GET", "HEAD")
_SCARCITY = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_log = logging.getLogger("application")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for."""

    path: str
    is_verbose: bool
    """Whether its query contains ``verbose``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets."""

    status: HTTPStatus
    content_type: str
    body: bytes


Answering = Callable[[Request], Answer | None]
"""Function that returns the answer to a request, or None if there is nothing at its path; it must not block."""


class Reception:
    """Serves the clients of a listening socket through a selector that its owner waits on.

    The owner passes every key whose data is this object to `attend`, and calls `tend` at least once a second while
    clients are served.

    Parameters
    ----------
    listener
        Listening socket, which may be shared with other processes; it becomes non-blocking.
    answering
        Function that returns the answer to a request.
    names
        Names by which clients may call, beside loopback names and the address of the socket.
    """

    def __init__(
        self,
        listener: socket.socket,
        answering: Answering,
        selector: selectors.BaseSelector,
        names: Iterable[str] = (),
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._addressee = Addressee(listener, names)
        self._answering = answering
        self._selector = selector
        self._clients: dict[socket.socket, _Client] = {}
        self._is_open = self._is_listening = False
        self._pause_ends_at = 0.0

    @property
    def clients(self) -> int:
        """Number of clients that are being served."""
        return len(self._clients)

    def open(self) -> None:
        """Accept clients from now on."""
        self._is_open = True
        self._listen_if_possible(time.monotonic())

    def close(self) -> None:
        """Accept no more clients; those accepted are still served."""
        self._is_open = False
        self._stop_listening()

    def attend(self, source: object) -> None:
        """Do what is possible now with the socket that the selector reported."""
        if source is self._listener:
            self._accept()
        elif isinstance(source, socket.socket) and (client := self._clients.get(source)) is not None:
            self._serve(client)

    def tend(self, now: float) -> None:
        """Dismiss clients that took too long; accept again after a pause."""
        for client in list(self._clients.values()):
            if now >= client.ends_at:
                self._dismiss(client)
        self._listen_if_possible(now)

    def dismiss_all(self) -> None:
        """Close the connections of all clients."""
        for client in list(self._clients.values()):
            self._dismiss(client)

    def _listen_if_possible(self, now: float) -> None:
        has_room = len(self._clients) < MOST_CLIENTS and now >= self._pause_ends_at
        if self._is_open and has_room and not self._is_listening:
            self._is_listening = self._is_registered(self._listener, now)

    def _is_registered(self, place: socket.socket, now: float) -> bool:
        """Wait for what comes from a socket; if the system lacks the means, begin a pause and return False."""
        try:
            self._selector.register(place, selectors.EVENT_READ, self)
        except OSError as error:
            event(_log, "endpoints_paused", logging.WARNING, error=str(error))
            self._pause_ends_at = now + _PAUSE_S
            return False
        return True

    def _stop_listening(self) -> None:
        if self._is_listening:
            self._selector.unregister(self._listener)
            self._is_listening = False

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            # Another process that shares the socket may have been faster, or the client may have left.
            if error.errno in _SCARCITY:
                self._pause_ends_at = time.monotonic() + _PAUSE_S
                self._stop_listening()
            return
        connection.setblocking(False)
        now = time.monotonic()
        if not self._is_registered(connection, now):
            connection.close()
            self._stop_listening()
            return
        self._clients[connection] = _Client(connection, now + PATIENCE_S)
        if len(self._clients) >= MOST_CLIENTS:
            self._stop_listening()

    def _serve(self, client: _Client) -> None:
        try:
            if client.answer is None and client.has_asked():
                client.answer = _message(client.head, self._answering, self._addressee)
                self._selector.modify(client.connection, selectors.EVENT_WRITE, self)
            if client.answer and client.say():
                # What the client still sends is read, because a reset could overtake the answer.
                self._selector.modify(client.connection, selectors.EVENT_READ, self)
                client.ends_at = min(client.ends_at, time.monotonic() + _LAST_WORDS_S)
            elif client.answer == b"":
                client.discard()
        except BlockingIOError:
            return
        except (OSError, EOFError):
            self._dismiss(client)

    def _dismiss(self, client: _Client) -> None:
        self._selector.unregister(client.connection)
        client.connection.close()
        del self._clients[client.connection]
        self._listen_if_possible(time.monotonic())


class _Client:
    """One connection: it asks, gets an answer, and leaves."""

    def __init__(self, connection: socket.socket, ends_at: float) -> None:
        self.connection = connection
        self.ends_at = ends_at
        self.head = b""
        self.answer: bytes | None = None
        """Rest of the answer; None before there is one, empty after all is sent."""
        self._discarded = 0

    def has_asked(self) -> bool:
        """Read; return whether the head of the request is complete, or longer than allowed."""
        self.head += self._received()
        return len(self.head) > LONGEST_HEAD or any(end in self.head for end in _HEAD_ENDS)

    def say(self) -> bool:
        """Send as much of the answer as possible; return whether all is sent."""
        assert self.answer
        self.answer = self.answer[self.connection.send(self.answer) :]
        if self.answer:
            return False
        self.connection.shutdown(socket.SHUT_WR)
        return True

    def discard(self) -> None:
        """Read what the client still sends, and forget it.

        Raises
        ------
        EOFError
            If the client has left, or sent too much.
        """
        self._discarded += len(self._received())
        if self._discarded > _MOST_DISCARDED:
            raise EOFError

    def _received(self) -> bytes:
        data = self.connection.recv(LONGEST_HEAD)
        if not data:
            raise EOFError
        return data


class ServingThread:
    """Serves clients on a thread of its own, so that a stuck event loop is still reported.

    Parameters
    ----------
    listener
        Listening socket, which stays open.
    answering
        Function that returns the answer to a request; it runs on the thread.
    names
        Names by which clients may call, beside loopback names and the address of the socket.
    """

    def __init__(self, listener: socket.socket, answering: Answering, names: Iterable[str] = ()) -> None:
        self._listener = listener
        self._answering = answering
        self._names = tuple(names)
        self._ear, self._bell = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="endpoints", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Accept no more clients, serve those accepted for a second at most, and end the thread."""
        self._bell.close()
        self._thread.join()
        self._ear.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._ear, selectors.EVENT_READ)
            reception = Reception(self._listener, self._answering, selector, self._names)
            reception.open()
            ends_at = float("inf")
            while reception.clients or ends_at == float("inf"):
                for key, _ in selector.select(_PAUSE_S):
                    if key.data is reception:
                        reception.attend(key.fileobj)
                    else:
                        selector.unregister(self._ear)
                        reception.close()
                        ends_at = time.monotonic() + _LAST_WORDS_S
                now = time.monotonic()
                reception.tend(now)
                if now >= ends_at:
                    reception.dismiss_all()


def text_answer(status: HTTPStatus, text: str) -> Answer:
    """Return an answer of plain text."""
    return Answer(status, TEXT, text.encode())


def _message(head: bytes, answering: Answering, addressee: Addressee) -> bytes:
    """Return the whole response to the head of a request."""
    method, answer = _answered(head, answering, addressee)
    lines = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: " + ", ".join(_READS))
    body = b"" if method == "HEAD" else answer.body
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _answered(head: bytes, answering: Answering, addressee: Addressee) -> tuple[str, Answer]:
    """Return the method of the request, and the answer to it."""
    if len(head) > LONGEST_HEAD:
        return "", _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    words = head.splitlines()[0].decode("latin-1").split(" ") if head.strip() else []
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return "", _refusal(HTTPStatus.BAD_REQUEST)
    method, target, _ = words
    hosts = _hosts(head)
    if len(hosts) > 1:
        return method, _refusal(HTTPStatus.BAD_REQUEST)
    # Every browser names a host, so a request without one is no browser's.
    if hosts and not addressee.is_meant(hosts[0]):
        return method, _refusal(HTTPStatus.MISDIRECTED_REQUEST)
    if method not in _READS:
        return method, _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
    path, _, query = target.partition("?")
    is_verbose = any(part.partition("=")[0] == "verbose" for part in query.split("&"))
    try:
        answer = answering(Request(path, is_verbose))
    except Exception:  # noqa: BLE001 - a fault in one endpoint must not end the others
        _log.exception("endpoint_failed")  # without what the client sent
        return method, _refusal(HTTPStatus.INTERNAL_SERVER_ERROR)
    return method, answer or _refusal(HTTPStatus.NOT_FOUND)


def _hosts(head: bytes) -> list[str]:
    """Return the value of each Host field."""
    fields = (line.partition(b":") for line in head.splitlines()[1:])
    return [value.strip().decode("latin-1") for name, _, value in fields if name.strip().lower() == b"host"]


def _refusal(status: HTTPStatus) -> Answer:
    return text_answer(status, f"{status.phrase.lower()}\n")
