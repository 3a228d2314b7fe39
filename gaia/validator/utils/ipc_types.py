"""Messages between processes, and their frames."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, Generic, Literal, TypeVar

import msgspec

from gaia.validator.utils.errors import ConfigurationError, ExitCode, GaiaError, NotYetAvailable, rebuild
from gaia.validator.utils.identities import Hotkey, JobId

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
        )

    def exception(self) -> GaiaError:
        """Return the error as one of ours."""
        if self.configuration is not None:
            setting, problem, remedy, exit_code = self.configuration
            return ConfigurationError(setting, problem, remedy, ExitCode(exit_code))
        return rebuild(self.error_type, self.message, self.retry_at)


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


class Neuron(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the metagraph."""

    uid: int
    hotkey: Hotkey
    coldkey: str
    ip: str
    """IPv4 address; "" if no axon is served."""
    port: int
    stake: float
    """Stake weight, in tokens."""
    validator_permit: bool
    last_update: int
    """Block of its last weights."""
    registered_at: int
    """Block of its registration; uid and hotkey alone do not identify a registration."""


class Metagraph(msgspec.Struct, frozen=True, kw_only=True):
    """The subnet at one block, with the data that setting weights needs."""

    netuid: int
    block: int
    neurons: list[Neuron]
    own_hotkey: str
    own_uid: int | None
    """Our uid; None: our hotkey is not registered."""
    tempo: int
    weights_rate_limit: int
    min_allowed_weights: int
    weights_version: int
    commit_reveal: bool
    owner_hotkey: str
    """The subnet owner's hotkey; "" if unknown. Weight on its uid is burnt."""
    own_dividends: float | None = None
    """Our share of the validators' rewards in the last tempo, from 0 to 1; None if unknown."""
    own_emission: float | None = None
    """Tokens of the subnet that the last tempo paid us; None if unknown."""

    @property
    def own(self) -> Neuron | None:
        """Our neuron; None: our hotkey is not registered."""
        return next((neuron for neuron in self.neurons if neuron.uid == self.own_uid), None)


class SignAuth(msgspec.Struct, frozen=True, kw_only=True, tag="sign_auth"):
    """Request the signed headers of one request to one miner (protocol.md, 2.3)."""

    request_id: int
    miner_hotkey: str
    symmetric_key_uuid: str


class AuthSigned(msgspec.Struct, frozen=True, kw_only=True, tag="auth_signed"):
    """Answer to `SignAuth`."""

    request_id: int
    validator_hotkey: str
    nonce: str
    signature: str


class ReadMetagraph(msgspec.Struct, frozen=True, kw_only=True, tag="read_metagraph"):
    """Request the metagraph."""

    request_id: int


class MetagraphRead(msgspec.Struct, frozen=True, kw_only=True, tag="metagraph_read"):
    """Answer to `ReadMetagraph`."""

    request_id: int
    metagraph: Metagraph


class SetWeights(msgspec.Struct, frozen=True, kw_only=True, tag="set_weights"):
    """Request to sign and submit one vector, which the engine has journalled before."""

    request_id: int
    uids: list[int]
    weights: list[int]
    """Values as u16 with the largest at 65535, from `core.weights.vector.quantise`."""
    version_key: int
    promised_block: int | None = None
    """Nothing is signed if the chain holds weights of ours newer than this block; None: no such check."""


class WeightsSet(msgspec.Struct, frozen=True, kw_only=True, tag="weights_set"):
    """The extrinsic succeeded, and the weights were read back from the chain."""

    request_id: int
    block: int
    block_hash: str
    extrinsic: str
    """Extrinsic id "<block>-<index>", or its hash if the SDK gives no index."""
    read_back: list[list[int]]
    """[uid, u16] pairs as stored on chain after inclusion."""


class ReadWeights(msgspec.Struct, frozen=True, kw_only=True, tag="read_weights"):
    """Request our weights on chain."""

    request_id: int


class WeightsRead(msgspec.Struct, frozen=True, kw_only=True, tag="weights_read"):
    """Our weights on chain, at `block`."""

    request_id: int
    block: int
    last_update: int
    """Block of our last weights; 0: never."""
    update_hash: str
    """Hash of that block; "" if unknown."""
    pairs: list[list[int]]
    """[uid, u16] pairs as stored."""


class RenewChain(msgspec.Struct, frozen=True, kw_only=True, tag="renew_chain"):
    """Request to replace the connection to the chain if it is older than `max_age_s`."""

    request_id: int
    max_age_s: float


class ChainRenewed(msgspec.Struct, frozen=True, kw_only=True, tag="chain_renewed"):
    """Answer to `RenewChain`."""

    request_id: int
    age_s: float
    """Age that the connection had; 0: there was none."""
    is_new: bool
    """Whether it was replaced."""
    resident_before_bytes: int = 0
    """Resident memory of the signer before the replacement, and after it; 0: nothing was replaced."""
    resident_after_bytes: int = 0


class SignerFailed(msgspec.Struct, frozen=True, kw_only=True, tag="signer_failed"):
    """Answer to any request that failed."""

    request_id: int
    failure: Failure


ToSigner = SignAuth | ReadMetagraph | SetWeights | ReadWeights | RenewChain
FromSigner = AuthSigned | MetagraphRead | WeightsSet | WeightsRead | ChainRenewed | SignerFailed

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
