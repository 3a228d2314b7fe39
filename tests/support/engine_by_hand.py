"""An IO-Engine's end of a worker's socket, by hand."""

from __future__ import annotations

import socket
from pathlib import Path

from gaia.validator.utils.ipc_types import (
    Ack,
    FrameReader,
    Hello,
    ResultUnit,
    ToEngine,
    ToWorker,
    encode_frame,
)
from tests.support.patience import patience

PATIENCE_S = 10.0


class Engine:
    """The other end of the socket, by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(patience(PATIENCE_S))
        self._connection: socket.socket | None = None

    def accept(self) -> Hello:
        """Take the worker's next connection and return its first words."""
        self.hang_up()
        self._connection, _ = self._listener.accept()
        self._connection.settimeout(patience(PATIENCE_S))
        self._frames: FrameReader[ToEngine] = FrameReader(ToEngine)
        self._heard: list[ToEngine] = []
        hello = self.hear()
        assert isinstance(hello, Hello)
        return hello

    def say(self, message: ToWorker) -> None:
        assert self._connection is not None
        self._connection.sendall(encode_frame(message))

    def say_bytes(self, data: bytes) -> None:
        assert self._connection is not None
        self._connection.sendall(data)

    def hear(self) -> ToEngine:
        assert self._connection is not None
        while not self._heard:
            data = self._connection.recv(65536)
            assert data, "the worker hung up"
            self._heard += self._frames.feed(data)
        return self._heard.pop(0)

    def hear_result(self) -> ResultUnit:
        result = self.hear()
        assert isinstance(result, ResultUnit)
        return result

    def acknowledge(self, result: ResultUnit) -> None:
        self.say(Ack(job_id=result.job_id, attempt=result.attempt))

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self.hang_up()
        self._listener.close()
