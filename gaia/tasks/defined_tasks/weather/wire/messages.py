"""Messages between validator and miner: requests, replies, statuses, and derived names."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gaia.tasks.defined_tasks.weather.wire.strict_json import strict_json
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import MinerFault
from gaia.validator.utils.secrecy import without_secrets

INITIATE_PATH = "/weather-initiate-fetch"
POLL_PATH = "/weather-poll-job-status"
STORE_PATH = "/weather-kerchunk-request"
PUBLIC_KEY_PATH = "/public-encryption-key"
EXCHANGE_PATH = "/exchange-symmetric-key"
FORECASTS_PREFIX = "/forecasts/"
NO_SYMMETRIC_KEY = "No symmetric key found for that hotkey and uuid"
NONCE_TOLERANCE_S = 120.0
_READ_FOR_PRINTING = 8
"""Times more characters of a stranger's text that are searched for secrets than are kept."""

Word = Annotated[str, msgspec.Meta(max_length=64)]
"""A status; unknown values are allowed."""
Text = Annotated[str, msgspec.Meta(max_length=8192)]
Hotkey = Annotated[str, msgspec.Meta(max_length=64)]
JobId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:-]{1,128}\Z")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{64}\Z")]
Token = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.=-]{1,4096}\Z")]
Url = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class InitiateStatus(StrEnum):
    """Statuses in answers to `INITIATE_PATH`; `COMPLETED` means that the forecast exists already."""

    ACCEPTED = "fetch_accepted"
    REJECTED = "fetch_rejected"
    COMPLETED = "completed"
    ERROR = "error"


class StoreStatus(StrEnum):
    """Statuses in answers to `STORE_PATH`."""

    COMPLETED = "completed"
    PROCESSING = "processing"
    ERROR = "error"
    NOT_FOUND = "not_found"


POLL_COMPLETED = "completed"
POLL_FAILED = frozenset(
    {"failed", "error", "fetch_error", "input_hash_mismatch", "input_hash_timeout", "input_poll_error"}
)
"""Statuses of a job that has failed; any other status means that it is in progress."""


class PublicKey(Struct, frozen=True, kw_only=True):
    """Reply of `PUBLIC_KEY_PATH`."""

    public_key: Text
    """PEM SubjectPublicKeyInfo of the miner process's RSA key."""
    timestamp: float


class KeyExchange(Struct, frozen=True, kw_only=True):
    """Body sent to `EXCHANGE_PATH`."""

    encrypted_symmetric_key: Text
    """base64 of RSA-OAEP(32 bytes)."""


class InitiateData(Struct, frozen=True, kw_only=True):
    """The requested forecast, and the miner that should make it."""

    forecast_start_time: datetime
    previous_step_time: datetime
    validator_hotkey: Hotkey | None = None
    expected_miner_hotkey: Hotkey | None = None


class JobData(Struct, frozen=True, kw_only=True):
    """The job in a `JobRequest`."""

    job_id: JobId


class InitiateRequest(Struct, frozen=True, kw_only=True):
    """Body of `INITIATE_PATH`."""

    data: InitiateData
    nonce: Text | None = None


class JobRequest(Struct, frozen=True, kw_only=True):
    """Body of `POLL_PATH` and `STORE_PATH`."""

    data: JobData
    nonce: Text | None = None


class InitiateReply(Struct, frozen=True, kw_only=True):
    """Reply of `INITIATE_PATH`; missing values are null."""

    status: Word
    job_id: JobId | None = None
    message: Text | None = None
    expected_hotkey: Hotkey | None = None
    actual_hotkey: Hotkey | None = None
    zarr_store_url: Url | None = None
    verification_hash: Digest | None = None
    access_token: Token | None = None


class PollReply(Struct, frozen=True, kw_only=True):
    """Reply of `POLL_PATH`."""

    status: Word
    job_id: Text | None = None
    message: Text | None = None
    output_ready: bool | UnsetType | None = UNSET


class StoreReply(Struct, frozen=True, kw_only=True):
    """Reply of `STORE_PATH`; the last three members are set if `status` is completed."""

    status: Word
    message: Text | None = None
    zarr_store_url: Url | None = None
    verification_hash: Digest | None = None
    access_token: Token | None = None


M = TypeVar("M", bound=Struct)


def decode_reply(content: bytes, kind: type[M]) -> M:
    """Return a miner's JSON as a `kind`; unknown members are ignored.

    Raises
    ------
    MinerFault
        If it is not JSON, or a member is missing, repeated, ill-typed or out of bounds.
    """
    with border(Party.MINER, kind.__name__):
        try:
            # The typed decoder bounds depth and shape; only the second pass finds repeated keys.
            reply = msgspec.json.decode(content, type=kind)
            strict_json(content)
        except (ValueError, RecursionError) as error:
            raise MinerFault(f"{kind.__name__} cannot be read: {printable(str(error))}") from error
    return reply


def printable(text: str, limit: int = 200) -> str:
    r"""Return a stranger's text on one line without control characters and secrets, for logs and the database.

    Examples
    --------
    >>> printable("a\x00b\nc", limit=3)
    'a b'
    """
    # The miner may repeat its access token in an answer, and what is stored is shown to others.
    known = without_secrets(text[: _READ_FOR_PRINTING * limit])[:limit]
    return "".join(char if char.isprintable() else " " for char in known)


def job_id_of(init_time: datetime, miner_hotkey: str) -> str:
    """Return the job id of a miner's forecast, which is the same for all validators (protocol.md, 2.5)."""
    seed = f"weather_job_forecast_{init_time.astimezone(UTC):%Y%m%d%H%M%S}_{miner_hotkey}"
    return str(uuid.UUID(bytes=hashlib.sha256(seed.encode()).digest()[:16], version=4))


def store_name_of(init_time: datetime, miner_hotkey: str) -> str:
    """Return the name of the folder that holds a miner's forecast (protocol.md, 2.6)."""
    block = job_id_of(init_time, miner_hotkey).split("-", 1)[0]
    return f"weather_forecast_{init_time.astimezone(UTC):%Y%m%d%H}_miner_hk_{miner_hotkey[:10]}_{block}.zarr"
