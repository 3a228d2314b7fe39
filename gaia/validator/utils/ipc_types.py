"""Messages between processes, and their frames."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, Generic, Literal, TypeVar

import msgspec

from gaia.validator.utils.errors import (
    ConfigurationError,
    ExitCode,
    GaiaError,
    NotYetAvailable,
    WeightsRefused,
    rebuild,
)
from gaia.validator.utils.identities import JobId

SandboxMode = Literal["required", "best-effort", "off", "required, without Landlock"]
"""Mode of a compute worker's sandbox; the last is for tests of kernels without Landlock."""

MAX_FRAME_BYTES = 64 * 1024 * 1024
CANARY = "pool.canary"
"""Handler that every worker has in addition to its own; it shows that the worker still works."""

_HEADER = struct.Struct("!I")
_SHORT_BYTES = 4096
T = TypeVar("T")


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error in a message between processes."""

    error_type: str
    message: str
    retry_at: float | None = None
    configuration: tuple[str, str, str, int] | None = None
    """Arguments of a `ConfigurationError`: setting, problem, remedy, exit code."""
    refusal: str | None = None
    """Name of the refusal of a `WeightsRefused`."""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return the failure that describes `error`; `exception` rebuilds it on the other side."""
        retry_at = error.retry_at.timestamp() if isinstance(error, NotYetAvailable) else None
        configuration = None
        if isinstance(error, ConfigurationError):
            configuration = (error.setting, error.problem, error.remedy, int(error.exit_code))
        return cls(
            error_type=type(error).__name__,
            message=str(error),
            retry_at=retry_at,
            configuration=configuration,
            refusal=error.name if isinstance(error, WeightsRefused) else None,
        )

    def exception(self) -> GaiaError:
        """Return the error as one of ours."""
        if self.configuration is not None:
            setting, problem, remedy, exit_code = self.configuration
            return ConfigurationError(setting, problem, remedy, ExitCode(exit_code))
        return rebuild(self.error_type, self.message, self.retry_at, self.refusal)


class Priority(IntEnum):
    """Priority of a unit; the pool runs lower numbers first."""

    AHEAD = 10
    """For references and overlaps, because scores and weights wait for them."""
    USUAL = 100
    """For the scoring of forecasts, which may take hours."""


class WorkUnit(msgspec.Struct, frozen=True, kw_only=True, tag="work"):
    """One job for the compute pool.

    It carries paths and plain values, never arrays or open files. It is therefore cheap to send and
    safe to run twice.
    """

    job_id: JobId
    handler: str
    payload: dict[str, Any]
    deadline_at: float
    """Unix seconds; a unit without an answer by then has failed."""
    priority: int = Priority.USUAL
    """A lower number runs first."""
    attempt: int = 1
    trace_id: str = ""


class ResultUnit(msgspec.Struct, frozen=True, kw_only=True, tag="result"):
    """Result of one attempt at a `WorkUnit`: `value` or `failure`, never both."""

    job_id: JobId
    attempt: int
    value: dict[str, Any] | None = None
    failure: Failure | None = None
    worker_pid: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0

    @property
    def succeeded(self) -> bool:
        return self.failure is None

    def unwrap(self) -> dict[str, Any]:
        """Return the value, or raise the failure as one of our errors."""
        if self.failure is not None:
            raise self.failure.exception()
        return self.value or {}


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """First message of a worker on a connection: its identity, and the attempt that it still holds."""

    seat: int
    incarnation: int
    pid: int
    holding: JobId = JobId("")
    attempt: int = 0
    sandbox: int = 0
    """Level of its sandbox: `confine.Level`."""


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag="welcome"):
    """First message of the engine: it has admitted the worker."""


class LeaveRequest(msgspec.Struct, frozen=True, kw_only=True, tag="leave_request"):
    """A worker asks to leave; a unit that crosses this request may still arrive."""

    reason: str


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag="ack"):
    """The engine has the result, so the worker may drop it; the next `WorkUnit` implies the same."""

    job_id: JobId
    attempt: int


class Retire(msgspec.Struct, frozen=True, kw_only=True, tag="retire"):
    """The worker should be replaced to free its memory; it serves until its successor is admitted."""


class Dismissed(msgspec.Struct, frozen=True, kw_only=True, tag="dismissed"):
    """Answer to a `LeaveRequest`: the worker holds nothing and may end."""


ToEngine = Hello | ResultUnit | LeaveRequest
ToWorker = Welcome | WorkUnit | Ack | Retire | Dismissed

_encoder = msgspec.msgpack.Encoder()


def encode_frame(message: msgspec.Struct) -> bytes:
    """Return `message` as one length-prefixed msgpack frame.

    Raises
    ------
    ValueError
        If it would exceed `MAX_FRAME_BYTES`; large results go through files.
    """
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"frame of {len(body)} bytes exceeds {MAX_FRAME_BYTES}; send a path")
    return _HEADER.pack(len(body)) + body


class FrameReader(Generic[T]):
    """Splits a byte stream into messages of one union.

    Parameters
    ----------
    union
        The messages allowed on this stream, such as `ToEngine`.
    """

    def __init__(self, union: Any) -> None:
        self._decoder = msgspec.msgpack.Decoder(union)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[T]:
        """Take the next bytes of the stream; return the messages that they complete, in order.

        Raises
        ------
        ValueError
            If a frame is longer than `MAX_FRAME_BYTES` or holds no allowed message. The connection
            must then be closed.
        """
        buffer = self._buffer
        if not buffer and len(data) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(data)
            if len(data) == _HEADER.size + length <= MAX_FRAME_BYTES:
                # Nearly always exactly one frame arrives. Copying a short one costs less than a view of it.
                body = data[_HEADER.size :] if length < _SHORT_BYTES else memoryview(data)[_HEADER.size :]
                return [self._decoder.decode(body)]
        buffer += data
        messages: list[T] = []
        start = 0
        while len(buffer) - start >= _HEADER.size:
            (length,) = _HEADER.unpack_from(buffer, start)
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"frame of {length} bytes exceeds {MAX_FRAME_BYTES}")
            end = start + _HEADER.size + length
            if len(buffer) < end:
                break
            messages.append(self._decoder.decode(bytes(buffer[start + _HEADER.size : end])))
            start = end
        del buffer[:start]
        return messages
