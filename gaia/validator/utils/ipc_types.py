"""Everything that crosses a process boundary, and the frames it travels in."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, Generic, Literal, TypeVar

import msgspec

from gaia.validator.utils.errors import ConfigurationError, ExitCode, GaiaError, NotYetAvailable, rebuild

SandboxMode = Literal["required", "best-effort", "off", "required, without Landlock"]
"""How a compute worker is confined. The last is for tests: what holds where the kernel has no Landlock."""

MAX_FRAME_BYTES = 64 * 1024 * 1024
CANARY = "pool.canary"
"""Handler that every worker has, whatever its handlers are: it shows that the worker still works."""

_HEADER = struct.Struct("!I")
_SHORT_BYTES = 4096
T = TypeVar("T")


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error on its way through a process boundary."""

    error_type: str
    message: str
    retry_at: float | None = None
    configuration: tuple[str, str, str, int] | None = None
    """Of a `ConfigurationError`: setting, problem, remedy, exit code."""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe `error`; `exception` on the other side rebuilds it."""
        retry_at = error.retry_at.timestamp() if isinstance(error, NotYetAvailable) else None
        configuration = None
        if isinstance(error, ConfigurationError):
            configuration = (error.setting, error.problem, error.remedy, int(error.exit_code))
        return cls(
            error_type=type(error).__name__,
            message=str(error),
            retry_at=retry_at,
            configuration=configuration,
        )

    def exception(self) -> GaiaError:
        """Return the error as one of ours, ready to be raised."""
        if self.configuration is not None:
            setting, problem, remedy, exit_code = self.configuration
            return ConfigurationError(setting, problem, remedy, ExitCode(exit_code))
        return rebuild(self.error_type, self.message, self.retry_at)


class Priority(IntEnum):
    """Which units the pool runs first: the lower number."""

    AHEAD = 10
    """References and overlaps, which the scoring of leads and the weights wait for."""
    USUAL = 100
    """The scoring of forecasts, of which there may be hours."""


class WorkUnit(msgspec.Struct, frozen=True, kw_only=True, tag="work"):
    """One job for the compute pool.

    Carries paths and plain values, never arrays or open files, so that it is
    cheap to send and safe to run twice.
    """

    job_id: str
    handler: str
    payload: dict[str, Any]
    deadline_at: float
    """Unix seconds; a unit that is not answered by then has failed."""
    priority: int = Priority.USUAL
    """Lower runs first."""
    attempt: int = 1
    trace_id: str = ""


class ResultUnit(msgspec.Struct, frozen=True, kw_only=True, tag="result"):
    """What became of one attempt at a `WorkUnit`: `value` or `failure`, never both."""

    job_id: str
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
    """A worker's first words on a connection: who it is and which attempt it still holds."""

    seat: int
    incarnation: int
    pid: int
    holding: str = ""
    attempt: int = 0
    sandbox: int = 0
    """How much of the sandbox is in force there: `sandbox.Level`."""


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag="welcome"):
    """The engine's first word: it has taken the worker in."""


class Goodbye(msgspec.Struct, frozen=True, kw_only=True, tag="goodbye"):
    """A worker asks to be let go."""

    reason: str


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag="ack"):
    """The engine has the result; the worker may forget it. Its next `WorkUnit` says the same."""

    job_id: str
    attempt: int


class Bye(msgspec.Struct, frozen=True, kw_only=True, tag="bye"):
    """The worker holds nothing and may leave."""


ToEngine = Hello | ResultUnit | Goodbye
ToWorker = Welcome | WorkUnit | Ack | Bye


class Neuron(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the metagraph."""

    uid: int
    hotkey: str
    coldkey: str
    ip: str
    """Dotted quad, or "" where the axon is not served."""
    port: int
    stake: float
    """Stake weight, in tokens."""
    validator_permit: bool
    last_update: int
    """Block of the last weights."""
    registered_at: int
    """Block of registration; uid and hotkey alone do not identify a registration."""


class Metagraph(msgspec.Struct, frozen=True, kw_only=True):
    """The subnet as of one block, with what a weight setter must know."""

    netuid: int
    block: int
    neurons: list[Neuron]
    own_hotkey: str
    own_uid: int | None
    """None: our hotkey is not registered."""
    tempo: int
    weights_rate_limit: int
    min_allowed_weights: int
    weights_version: int
    commit_reveal: bool
    owner_hotkey: str
    """The subnet owner's hotkey; "" if unknown. Weight on its uid is burnt."""


class SignAuth(msgspec.Struct, frozen=True, kw_only=True, tag="sign_auth"):
    """Ask for the signed headers of one request to one miner (protocol.md, 2.3)."""

    request_id: int
    miner_hotkey: str
    symmetric_key_uuid: str


class AuthSigned(msgspec.Struct, frozen=True, kw_only=True, tag="auth_signed"):
    request_id: int
    validator_hotkey: str
    nonce: str
    signature: str


class ReadMetagraph(msgspec.Struct, frozen=True, kw_only=True, tag="read_metagraph"):
    request_id: int


class MetagraphRead(msgspec.Struct, frozen=True, kw_only=True, tag="metagraph_read"):
    request_id: int
    metagraph: Metagraph


class SetWeights(msgspec.Struct, frozen=True, kw_only=True, tag="set_weights"):
    """Sign and submit one vector; the engine has journalled it before it asks."""

    request_id: int
    uids: list[int]
    weights: list[int]
    """u16, largest 65535, as `core.weights.quantise` makes them."""
    version_key: int
    promised_block: int | None = None
    """Nothing is signed where the chain holds weights of ours that are newer; None: always."""


class WeightsSet(msgspec.Struct, frozen=True, kw_only=True, tag="weights_set"):
    """The extrinsic succeeded and the weights were read back from the chain."""

    request_id: int
    block: int
    block_hash: str
    extrinsic: str
    """Extrinsic id "<block>-<index>", or its hash where the SDK gives no index."""
    read_back: list[list[int]]
    """[uid, u16] pairs as stored on chain after inclusion."""


class ReadWeights(msgspec.Struct, frozen=True, kw_only=True, tag="read_weights"):
    """Ask what the chain holds of us."""

    request_id: int


class WeightsRead(msgspec.Struct, frozen=True, kw_only=True, tag="weights_read"):
    """What the chain holds of us, as of `block`."""

    request_id: int
    block: int
    last_update: int
    """Block in which our weights were last set; 0: never."""
    update_hash: str
    """Of that block; "" if unknown."""
    pairs: list[list[int]]
    """[uid, u16] as stored."""


class SignerFailed(msgspec.Struct, frozen=True, kw_only=True, tag="signer_failed"):
    request_id: int
    failure: Failure


ToSigner = SignAuth | ReadMetagraph | SetWeights | ReadWeights
FromSigner = AuthSigned | MetagraphRead | WeightsSet | WeightsRead | SignerFailed

_encoder = msgspec.msgpack.Encoder()


def encode_frame(message: msgspec.Struct) -> bytes:
    """Return `message` as one length-prefixed msgpack frame.

    Raises
    ------
    ValueError
        If it would exceed `MAX_FRAME_BYTES`; large results travel by file.
    """
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"frame of {len(body)} bytes exceeds {MAX_FRAME_BYTES}; send a path")
    return _HEADER.pack(len(body)) + body


class FrameReader(Generic[T]):
    """Cuts a byte stream into messages of the union it was made for.

    Parameters
    ----------
    union
        The messages allowed on this stream, such as `ToEngine`.
    """

    def __init__(self, union: Any) -> None:
        self._decoder = msgspec.msgpack.Decoder(union)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[T]:
        """Take bytes as they came; return the messages they complete, in order.

        Raises
        ------
        ValueError
            If a frame is longer than `MAX_FRAME_BYTES` or holds no allowed message;
            the connection is then out of step and must be closed.
        """
        buffer = self._buffer
        if not buffer and len(data) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(data)
            if len(data) == _HEADER.size + length <= MAX_FRAME_BYTES:
                # One whole frame, as nearly always: nothing to keep. To copy a short one costs less than a view of it.
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
