"""Client of the miners' protocol: requests forecasts, polls them, and downloads manifests and files."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from http import HTTPStatus
from pathlib import Path, PurePath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import UUID

import msgspec
import structlog

from gaia.tasks.defined_tasks.base import JobOffer, SignedManifest, StoreAccess
from gaia.tasks.defined_tasks.weather.wire.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURE_BYTES,
    SIGNATURE_NAME,
)
from gaia.tasks.defined_tasks.weather.wire.messages import (
    INITIATE_PATH,
    POLL_COMPLETED,
    POLL_FAILED,
    POLL_PATH,
    STORE_PATH,
    InitiateData,
    InitiateReply,
    InitiateStatus,
    JobData,
    PollReply,
    StoreReply,
    StoreStatus,
    decode_reply,
    printable,
)
from gaia.validator.core.miners.address import base_url_of, canonical_store_path
from gaia.validator.core.miners.download import Downloads
from gaia.validator.core.miners.http import Deadline, MinerHttp, Reply, deadline
from gaia.validator.core.miners.session import AuthSigner, MinerSessions, Peer, fresh_nonce
from gaia.validator.core.miners.tally import Tally
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import JobFailed, MinerFault, MinerUnreachable
from gaia.validator.utils.identities import Hotkey, MinerJobId

if TYPE_CHECKING:
    from gaia.validator.utils.chain.metagraph import Neuron
    from gaia.validator.utils.idle_connections import Connections
    from gaia.validator.utils.settings.miners import MinersSettings

_security = structlog.get_logger("security")

_MIB = 1024 * 1024
_INPUT_SPACING = timedelta(hours=6)
_POLL_ERROR_LIMIT = 3
M = TypeVar("M", bound=msgspec.Struct)


class MinerComms:
    """The `Miners` of a validator; close it, or use it as an async context.

    Parameters
    ----------
    settings
        Section of the settings about miners.
    grid
        Name of the forecasts' grid, which bounds the size of a chunk.
    signer
        Signs the headers of each request.
    may_ask
        Called before each request; it raises an error of ours if another validator may be asking.
    """

    def __init__(
        self,
        settings: MinersSettings,
        grid: str,
        signer: AuthSigner,
        may_ask: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._http = MinerHttp(settings.miner_timeout_s, settings.miner_min_rate_kib_s, may_send=may_ask)
        self._sessions = MinerSessions(self._http, signer, settings.miner_session_hours)
        # Requests are short and have deadlines; downloads may fill all their own slots for hours.
        self._slots = asyncio.Semaphore(settings.question_concurrency)
        self._downloads = Downloads(self._http, settings, grid)
        self._poll_errors: Tally[tuple[str, str]] = Tally()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def close_idle(self) -> Connections:
        """Close the connections that no request uses."""
        return await self._http.close_idle()

    def forget(self, hotkeys: Collection[Hotkey]) -> int:
        """Forget the session keys of miners that left the subnet; return their number."""
        return self._sessions.forget(hotkeys)

    async def request_forecast(self, miner: Neuron, init_time: datetime) -> JobOffer:
        """Request the forecast that starts at `init_time`; a refusal is an offer that is not accepted."""
        data = InitiateData(
            forecast_start_time=init_time,
            previous_step_time=init_time - _INPUT_SPACING,
            expected_miner_hotkey=miner.hotkey,
        )
        reply = _read(await self._call(miner, INITIATE_PATH, data), INITIATE_PATH, InitiateReply)
        if reply.actual_hotkey not in (None, miner.hotkey):
            message = f"another miner answered: {printable(str(reply.actual_hotkey))}"
            _security.info("reply_refused", call=INITIATE_PATH, reason=message)
            return JobOffer(accepted=False, job_id=MinerJobId(""), message=message)
        accepted = reply.status in (InitiateStatus.ACCEPTED, InitiateStatus.COMPLETED)
        if accepted and reply.job_id is None:
            raise MinerFault("accepted the forecast without a job id")
        message = printable(reply.message or reply.status)
        return JobOffer(accepted=accepted, job_id=MinerJobId(reply.job_id or ""), message=message)

    async def forecast_ready(self, miner: Neuron, job_id: MinerJobId) -> bool:
        """Return whether the forecast can be read; a miner that does not know the job may recall it later."""
        key = (miner.hotkey, job_id)
        answer = await self._call(miner, POLL_PATH, JobData(job_id=job_id))
        # Miners with a failed job always answer 500, because the intended status was removed.
        if answer.is_server_error and self._poll_errors.add(key) >= _POLL_ERROR_LIMIT:
            raise JobFailed(f"{_POLL_ERROR_LIMIT} times in a row {answer.error(POLL_PATH)}")
        reply = _read(answer, POLL_PATH, PollReply)
        self._poll_errors.forget(key)
        if reply.status in POLL_FAILED:
            raise JobFailed(f"job ended as {reply.status}: {printable(reply.message or '')}")
        return reply.status == POLL_COMPLETED

    async def open_store(self, miner: Neuron, job_id: MinerJobId) -> StoreAccess:
        """Return the address of a finished forecast and a new token."""
        answer = await self._call(miner, STORE_PATH, JobData(job_id=job_id))
        reply = _read(answer, STORE_PATH, StoreReply)
        if reply.status == StoreStatus.PROCESSING:
            raise MinerUnreachable("forecast is not ready to be read")
        if reply.status != StoreStatus.COMPLETED:
            raise JobFailed(f"store is {printable(reply.status)}: {printable(reply.message or '')}")
        if reply.zarr_store_url is None or reply.verification_hash is None or reply.access_token is None:
            raise MinerFault("store reply lacks its address, hash or token")
        return StoreAccess(
            url_path=canonical_store_path(reply.zarr_store_url),
            manifest_sha256=reply.verification_hash.lower(),
            token=reply.access_token,
        )

    async def fetch_manifest(self, miner: Neuron, access: StoreAccess) -> SignedManifest:
        """Return manifest and signature, unverified."""
        limit_bytes = min(self._settings.manifest_max_mib * _MIB, MAX_MANIFEST_BYTES)
        async with self._conversation(miner, "manifest") as (peer, _):
            content = await self._get(peer, access, MANIFEST_NAME, limit_bytes)
            signature = await self._get(peer, access, SIGNATURE_NAME, SIGNATURE_BYTES)
        return SignedManifest(content=content, signature=signature)

    async def fetch_files(
        self, miner: Neuron, access: StoreAccess, paths: Sequence[str], directory: Path
    ) -> int:
        """Download each of `paths` to `directory`, unverified; return the bytes received.

        Raises `OwnFailure` if our own disk fails.
        """
        return await self._downloads.fetch(self._peer(miner), access, paths, directory)

    async def _call(self, miner: Neuron, path: str, data: InitiateData | JobData) -> Reply:
        """Make one encrypted call; return its answer with any status."""

        def content(validator_hotkey: str) -> bytes:
            said = msgspec.structs.asdict(data)
            if isinstance(data, InitiateData):
                said["validator_hotkey"] = validator_hotkey
            return json.dumps({"nonce": fresh_nonce(), "data": said}, default=custom_serializer).encode()

        async with self._conversation(miner, path) as (peer, limit):
            return await self._sessions.call(peer, path, content, limit)

    async def _get(self, peer: Peer, access: StoreAccess, name: str, limit_bytes: int) -> bytes:
        url = f"{peer.base_url}{access.url_path}/{name}"
        headers = {"Authorization": f"Bearer {access.token}"}
        reply = await self._http.exchange("GET", url, headers=headers, limit_bytes=limit_bytes)
        if reply.status != HTTPStatus.OK:
            raise reply.error(name)
        return reply.body

    @asynccontextmanager
    async def _conversation(self, miner: Neuron, what: str) -> AsyncIterator[tuple[Peer, Deadline]]:
        """Wait for a free slot, then give the whole exchange, including handshakes, one time limit.

        Any error is translated to one of ours.
        """
        peer = self._peer(miner)
        with border(Party.MINER, what):
            async with self._slots, deadline(self._settings.miner_timeout_s, what) as limit:
                yield peer, limit

    def _peer(self, miner: Neuron) -> Peer:
        settings = self._settings
        url = base_url_of(miner, settings.miner_scheme, allow_private=settings.allow_private_miners)
        return Peer(miner.hotkey, url)


def custom_serializer(value: object) -> Any:
    """Return a JSON form of a value without a JSON type; the `default` of `json.dumps`.

    Times become ISO 8601; bytes base64; paths, decimals and UUIDs text; sets sorted lists;
    dataclasses and structs objects; enums their value.

    Raises
    ------
    TypeError
        For any other type.
    """
    match value:
        case datetime() | date():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode("ascii")
        case PurePath() | Decimal() | UUID():
            return str(value)
        case Enum():
            return value.value
        case set() | frozenset():
            return sorted(value)
        case msgspec.Struct():
            return msgspec.structs.asdict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def _read(reply: Reply, what: str, kind: type[M]) -> M:
    if reply.status != HTTPStatus.OK:
        raise reply.error(what)
    try:
        return decode_reply(reply.body, kind)
    except MinerFault as error:
        _security.info("reply_refused", call=what, reason=str(error))
        raise
