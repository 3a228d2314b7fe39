"""Asks the embedded PostgreSQL whether it lives, without a login and without a wait.

A question is an SSLRequest on the server's socket. The postmaster has to accept it and to fork a process, which
answers one byte before it looks at anything else. So a server answers while it recovers, while it is busy and while
all its connections are in use. A connection alone shows nothing, because the kernel makes it.

Source: PostgreSQL's documentation, "SSL Session Encryption" in "Message Flow".
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from pathlib import Path
from typing import Final

from gaia.validator.app.children.replies import Replies

ASK_EVERY_S: Final = 5.0
"""Seconds between two questions; each costs the server one fork."""
_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
_MOST_OPEN: Final = 8
_OUR_SCARCITY: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
"""Errors of a question that tell of our process or the kernel, not of the server."""


class PostgresPing:
    """Questions to one server at regular intervals.

    Parameters
    ----------
    path
        Socket of the server.
    every_s
        Seconds between two questions.
    """

    def __init__(self, path: Path, every_s: float = ASK_EVERY_S) -> None:
        self._path = str(path)
        self._replies = Replies(every_s)
        self._open: deque[tuple[float, socket.socket]] = deque()
        """Moment and connection of each question whose answer may still come, oldest first."""

    def look(self, now: float) -> None:
        """Read the answers that have come, and ask again if that is due; it never waits.

        Parameters
        ----------
        now
            Seconds on the monotonic clock.
        """
        for question in tuple(self._open):
            self._read(*question)
        if self._replies.is_due(now):
            self._ask(now)

    def unanswered_s(self, now: float) -> float:
        """Return for how many seconds the server has answered nobody; 0 if no question is open."""
        return self._replies.unanswered_s(now)

    def close(self) -> None:
        """Close all connections."""
        while self._open:
            self._open.popleft()[1].close()

    def _ask(self, now: float) -> None:
        """Send a question; one that the server's socket does not take counts as asked."""
        connection: socket.socket | None = None
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            connection.connect(self._path)
            connection.send(_SSL_REQUEST)
        except OSError as error:
            if connection is not None:
                connection.close()
            if error.errno in _OUR_SCARCITY:
                return
        else:
            self._open.append((now, connection))
        self._replies.asked(now)
        if len(self._open) > _MOST_OPEN:
            self._open.popleft()[1].close()

    def _read(self, asked_at: float, connection: socket.socket) -> None:
        """Read one answer; any byte is one, and the end of the connection is none."""
        try:
            answer = connection.recv(1)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        connection.close()
        self._open.remove((asked_at, connection))
        if answer:
            self._replies.answered(asked_at)
