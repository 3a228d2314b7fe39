"""The reference miner: an HTTPS server that answers validators and makes forecasts."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gaia.miner.bodies import body_of, decoded, read_below, reply_of
from gaia.miner.jobs import Job, MinerOptions
from gaia.miner.listener import Listener
from gaia.miner.sessions import Caller, RefusedError, Sessions, issue_token, require_token
from gaia.miner.store import StoreWriter
from gaia.tasks.defined_tasks.weather.wire.manifest import MANIFEST_NAME, SIGNATURE_NAME
from gaia.tasks.defined_tasks.weather.wire.messages import (
    EXCHANGE_PATH,
    FORECASTS_PREFIX,
    INITIATE_PATH,
    POLL_PATH,
    PUBLIC_KEY_PATH,
    STORE_PATH,
    InitiateData,
    InitiateReply,
    InitiateRequest,
    InitiateStatus,
    JobRequest,
    KeyExchange,
    PollReply,
    StoreReply,
    StoreStatus,
    job_id_of,
    store_name_of,
)

if TYPE_CHECKING:
    import bittensor_core

    from gaia.miner.inference import ForecastField, ForecastModel

_WIRE_STATUS = {"in_progress": "running", "completed": "completed", "failed": "failed"}
_STORE_STATUS = {
    "in_progress": StoreStatus.PROCESSING,
    "completed": StoreStatus.COMPLETED,
    "failed": StoreStatus.ERROR,
}

log = structlog.get_logger()
R = TypeVar("R", bound=msgspec.Struct)
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One answered request."""

    method: str
    path: str
    about: str
    """Initial time (ISO 8601) of the requested forecast, or id of the job; else empty."""
    status: int
    """HTTP status of the answer."""


class ReferenceMiner:
    """A miner that speaks the validator's protocol.

    To change a miner's behaviour, override a public method in a subclass.

    Parameters
    ----------
    keypair
        The hotkey; signs manifests.
    model
        Model of the forecasts; it runs in a thread.
    options
        See `MinerOptions`.
    now
        Clock; it only decides which forecasts are old enough to be deleted.
    hold
        Called with a name unique to the job. The context that it returns is open from the
        acceptance of the job until its forecast is sealed (`SimulatedClock.held`).
    """

    def __init__(
        self,
        keypair: bittensor_core.Keypair,
        model: ForecastModel,
        options: MinerOptions,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        hold: Callable[[str], AbstractContextManager[None]] = lambda _name: nullcontext(),
    ) -> None:
        self.hotkey: str = keypair.ss58_address
        self.keypair = keypair
        self.model = model
        self.options = options
        self.now = now
        self.jobs: dict[str, Job] = {}
        self._hold = hold
        self._secret = options.token_secret or secrets.token_hex(32)
        self._sessions: Sessions | None = None
        self._listener: Listener | None = None
        self._inferences: set[asyncio.Task[None]] = set()

    # The server

    async def serve(
        self, host: str, port: int = 0, *, certificate: tuple[Path, Path] | None = None
    ) -> tuple[str, int]:
        """Start to answer requests; return the address.

        Parameters
        ----------
        certificate
            Files of certificate and key, as `sessions.write_certificate` makes them. None: plain HTTP.
        """
        if self._sessions is None:
            self._sessions = await asyncio.to_thread(Sessions)
        await asyncio.to_thread(self._recall_forecasts)
        self._listener = Listener(self.application(), certificate)
        return await self._listener.start(host, port)

    async def stop(self) -> None:
        """Finish the forecasts in work, then stop answering; may be called twice."""
        await self.finished()
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None

    def application(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[
                Route(PUBLIC_KEY_PATH, self._guarded(self.public_key), methods=["GET"]),
                Route(EXCHANGE_PATH, self._guarded(self.exchange_key), methods=["POST"]),
                Route(INITIATE_PATH, self._guarded(self._initiate), methods=["POST"]),
                Route(POLL_PATH, self._guarded(self._poll), methods=["POST"]),
                Route(STORE_PATH, self._guarded(self._store), methods=["POST"]),
                Route(FORECASTS_PREFIX + "{path:path}", self._guarded(self._file), methods=["GET"]),
            ]
        )

    # Methods that a subclass may override

    async def before(self, request: Request) -> Response | None:
        """Return a response that replaces the answer, or None; called first for every request."""
        return None

    def on_answered(self, question: Question) -> None:
        """Note an answered request; called once per request, just before the answer is sent."""

    async def refusal_of(self, validator_hotkey: str) -> str | None:
        """Return why this validator gets no answer (403), or None if it gets one."""
        allowed = self.options.validators
        return None if allowed is None or validator_hotkey in allowed else "Hotkey not found in metagraph"

    async def public_key(self, request: Request) -> Response:
        return JSONResponse({"public_key": self.sessions.public_pem, "timestamp": time.time()})

    async def exchange_key(self, request: Request) -> Response:
        caller = await self._caller(request)
        exchange = decoded(await body_of(request), KeyExchange)
        self.sessions.exchange(caller, exchange.encrypted_symmetric_key)
        return JSONResponse({"status": "Symmetric key exchanged successfully"})

    async def on_initiate(self, data: InitiateData, validator_hotkey: str) -> InitiateReply:
        """Answer the request for a forecast, and start to compute it unless it exists."""
        if data.expected_miner_hotkey not in (None, self.hotkey):
            return InitiateReply(
                status=InitiateStatus.REJECTED,
                message="This is another miner",
                expected_hotkey=data.expected_miner_hotkey,
                actual_hotkey=self.hotkey,
            )
        job_id = job_id_of(data.forecast_start_time, self.hotkey)
        job = self.jobs.get(job_id)
        if job is None or job.status == "failed":
            self.start_inference(job_id, data.forecast_start_time)
        elif job.status == "completed":
            return InitiateReply(status=InitiateStatus.COMPLETED, job_id=job_id, **self._access(job))
        return InitiateReply(status=InitiateStatus.ACCEPTED, job_id=job_id, message="Inference is under way")

    async def job_status(self, job_id: str) -> PollReply:
        """Answer whether a forecast is ready."""
        job = self.jobs.get(job_id)
        if job is None:
            return PollReply(status="not_found", job_id=job_id, message="No such job")
        ready: bool | msgspec.UnsetType = True if job.status == "completed" else msgspec.UNSET
        return PollReply(
            status=_WIRE_STATUS[job.status], job_id=job_id, message=job.message or None, output_ready=ready
        )

    async def store_reply(self, job_id: str) -> StoreReply:
        """Answer where a forecast can be read."""
        job = self.jobs.get(job_id)
        if job is None:
            return StoreReply(status=StoreStatus.NOT_FOUND, message="No such job")
        access = self._access(job) if job.status == "completed" else {}
        return StoreReply(status=_STORE_STATUS[job.status], message=job.message or None, **access)

    async def read_file(self, path: str) -> bytes | None:
        """Return a file below the forecasts' folder; None if there is none (404)."""
        root = self.options.directory.resolve()
        return await asyncio.to_thread(read_below, root, path)

    async def file_response(self, request: Request, path: str) -> Response:
        """Answer one GET or HEAD with a valid token."""
        content = await self.read_file(path)
        if content is None:
            return JSONResponse({"detail": "File not found"}, status_code=404)
        return Response(content, media_type="application/octet-stream")

    def forecast(self, init_time: datetime) -> Iterable[ForecastField]:
        """Yield the fields of a forecast; runs in a thread."""
        return self.model.forecast(init_time, self.options.lead_hours)

    def sign(self, content: bytes) -> bytes:
        """Sign a manifest."""
        return bytes(self.keypair.sign(content))

    # Inference

    def start_inference(self, job_id: str, init_time: datetime) -> None:
        """Record the job, and compute its forecast in the background."""
        job = Job(job_id=job_id, init_time=init_time, status="in_progress")
        self.jobs[job_id] = job
        held = ExitStack()
        # Entered before the validator gets its answer, so that simulated time cannot jump in between.
        held.enter_context(self._hold(f"{self.hotkey[:10]}-{job_id}"))
        task = asyncio.create_task(self._infer(job, held))
        self._inferences.add(task)
        task.add_done_callback(self._inferences.discard)

    async def finished(self) -> None:
        """Wait until no forecast is in work."""
        await asyncio.gather(*self._inferences)

    async def _infer(self, job: Job, held: ExitStack) -> None:
        with held:
            try:
                digest = await asyncio.to_thread(self.write_store, job.init_time)
            except Exception as error:
                log.exception("inference_failed", hotkey=self.hotkey, job_id=job.job_id)
                self.jobs[job.job_id] = replace(job, status="failed", message=type(error).__name__)
                return
            self.jobs[job.job_id] = replace(job, status="completed", manifest_sha256=digest)
            log.info("forecast_sealed", hotkey=self.hotkey, job_id=job.job_id, manifest=digest)

    def write_store(self, init_time: datetime) -> str:
        """Compute and seal a forecast; return the sha256 (hex) of its manifest; runs in a thread."""
        self._delete_old_forecasts()
        directory = self.store_directory(init_time)
        shutil.rmtree(directory, ignore_errors=True)
        writer = StoreWriter(directory, init_time, self.options.grid, self.options.lead_hours)
        for field in self.forecast(init_time):
            writer.write(field)
        return hashlib.sha256(writer.seal(self.hotkey, self.sign)).hexdigest()

    def store_directory(self, init_time: datetime) -> Path:
        """Return the folder of one forecast."""
        return self.options.directory / store_name_of(init_time, self.hotkey)

    def _recall_forecasts(self) -> None:
        """Offer the sealed forecasts of an earlier process, and delete its unfinished ones."""
        for store, init_time in self._stores():
            if not (store / MANIFEST_NAME).exists() or not (store / SIGNATURE_NAME).exists():
                shutil.rmtree(store, ignore_errors=True)
                continue
            job_id = job_id_of(init_time, self.hotkey)
            digest = hashlib.sha256((store / MANIFEST_NAME).read_bytes()).hexdigest()
            job = Job(job_id=job_id, init_time=init_time, status="completed", manifest_sha256=digest)
            self.jobs.setdefault(job_id, job)

    def _delete_old_forecasts(self) -> None:
        oldest = self.now() - timedelta(days=self.options.keep_days)
        for store, init_time in self._stores():
            if init_time < oldest:
                self.jobs.pop(job_id_of(init_time, self.hotkey), None)
                shutil.rmtree(store, ignore_errors=True)

    def _stores(self) -> list[tuple[Path, datetime]]:
        """Yield our forecasts on disk with their initial times; ignore other folders."""
        found = []
        for store in self.options.directory.glob("weather_forecast_*.zarr"):
            try:
                init_time = datetime.strptime(store.name.split("_")[2], "%Y%m%d%H").replace(tzinfo=UTC)
            except (ValueError, IndexError):
                continue
            if store.name == store_name_of(init_time, self.hotkey):
                found.append((store, init_time))
        return found

    # Requests

    @property
    def sessions(self) -> Sessions:
        """Keys of this process; `serve` makes them."""
        if self._sessions is None:
            self._sessions = Sessions()
        return self._sessions

    def _guarded(self, handler: Handler) -> Handler:
        async def attempt(request: Request) -> Response:
            try:
                return await self.before(request) or await handler(request)
            except RefusedError as refusal:
                return JSONResponse({"detail": refusal.detail}, status_code=refusal.status)
            except msgspec.ValidationError as error:
                body = {"error": "Unprocessable request", "details": str(error)}
                return JSONResponse(body, status_code=422)

        async def answer(request: Request) -> Response:
            response = await attempt(request)
            about = getattr(request.state, "about", "")
            question = Question(
                method=request.method, path=request.url.path, about=about, status=response.status_code
            )
            self.on_answered(question)
            return response

        return answer

    async def _caller(self, request: Request) -> Caller:
        caller = self.sessions.authenticate(request.headers)
        reason = await self.refusal_of(caller.hotkey)
        if reason is not None:
            raise RefusedError(403, reason)
        return caller

    async def _question(self, request: Request, kind: type[R]) -> tuple[R, str]:
        """Return the decrypted body of a signed request and its sender."""
        caller = await self._caller(request)
        return decoded(self.sessions.decrypt(caller, await body_of(request)), kind), caller.hotkey

    async def _initiate(self, request: Request) -> Response:
        question, validator_hotkey = await self._question(request, InitiateRequest)
        request.state.about = question.data.forecast_start_time.isoformat()
        return reply_of(await self.on_initiate(question.data, validator_hotkey))

    async def _poll(self, request: Request) -> Response:
        question, _ = await self._question(request, JobRequest)
        request.state.about = question.data.job_id
        return reply_of(await self.job_status(question.data.job_id))

    async def _store(self, request: Request) -> Response:
        question, _ = await self._question(request, JobRequest)
        request.state.about = question.data.job_id
        return reply_of(await self.store_reply(question.data.job_id))

    async def _file(self, request: Request) -> Response:
        path: str = request.path_params["path"]
        header = request.headers.get("authorization", "")
        token = header.removeprefix("Bearer ").strip() or request.query_params.get("token", "")
        require_token(self._secret, token, path)
        return await self.file_response(request, path)

    def _access(self, job: Job) -> dict[str, str]:
        store = store_name_of(job.init_time, self.hotkey)
        return {
            "zarr_store_url": FORECASTS_PREFIX + store,
            "verification_hash": job.manifest_sha256,
            "access_token": issue_token(self._secret, job.job_id, store, self.options.token_minutes),
        }
