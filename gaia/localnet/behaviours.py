"""Miners that are honest, and miners that are not: each differs from the reference miner in one place."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numcodecs import Blosc

from gaia.localnet import hostile_frames
from gaia.localnet.forecasters import Doped, gfs_clone, graded, hindsight, persistence
from gaia.localnet.population import Behaviour, MinerSpec, victim_of
from gaia.localnet.wallets import keypair
from gaia.localnet.weather import WeatherReplay
from gaia.miner.inference import ForecastField, ForecastModel
from gaia.miner.server import MinerOptions, Question, ReferenceMiner
from gaia.tasks.defined_tasks.weather.manifest import MANIFEST_NAME, SIGNATURE_NAME, build_manifest
from gaia.tasks.defined_tasks.weather.messages import (
    InitiateData,
    InitiateReply,
    InitiateStatus,
    PollReply,
    StoreReply,
    StoreStatus,
    job_id_of,
    store_name_of,
)
from gaia.tasks.defined_tasks.weather.store_digests import file_digest
from gaia.tasks.defined_tasks.weather.variables import GRIDS, split_field
from gaia.validator.core.clock import SimulatedClock
from gaia.validator.utils.config import LEADS_HOURS, SURFACE_FIELDS

ANSWER_TAKES = timedelta(minutes=1)
"""Simulated time from a question to its forecast, whatever real time the machine needs for it."""
COPY_TAKES = timedelta(minutes=12)
"""Simulated time from the victim's answer to the copy's: two polls."""
_VICTIM_TIMEOUT_S = 60.0
_VICTIM_POLL_S = 0.05
_SEAL = {MANIFEST_NAME, SIGNATURE_NAME}
_CODEC = Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE)


class ServedMiner(Protocol):
    """What the farm needs of a miner."""

    hotkey: str

    async def serve(
        self, host: str, port: int = 0, *, certificate: tuple[Path, Path] | None = None
    ) -> tuple[str, int]: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the miners of one population share."""

    replay: WeatherReplay
    specs: Sequence[MinerSpec]
    directory: Path
    """Each miner keeps its forecasts in a folder below."""
    clock: SimulatedClock
    options: MinerOptions
    """Of all miners; the directory is replaced by the miner's own."""
    fields: tuple[str, ...] = SURFACE_FIELDS

    def directory_of(self, spec: MinerSpec) -> Path:
        return self.directory / spec.name


class LocalMiner(ReferenceMiner):
    """The reference miner, on the simulated clock, which it holds while it computes.

    When its forecast can be had follows from the simulated clock alone. Every
    request is recorded in `questions_path`, in the order of the answers.
    """

    takes = ANSWER_TAKES

    def __init__(self, spec: MinerSpec, world: World, model: ForecastModel) -> None:
        hold: Callable[[str], AbstractContextManager[None]] = world.clock.held
        options = replace(world.options, directory=world.directory_of(spec))
        super().__init__(keypair(spec.uri), model, options, now=world.clock.now, hold=hold)
        self.spec = spec
        self.world = world
        self._asked_at: dict[str, datetime] = {}

    def on_answered(self, question: Question) -> None:
        record(self.world, self.spec, question)

    async def on_initiate(self, data: InitiateData, validator_hotkey: str) -> InitiateReply:
        self._asked_at.setdefault(job_id_of(data.forecast_start_time, self.hotkey), self.now())
        reply = await super().on_initiate(data, validator_hotkey)
        if reply.status == InitiateStatus.COMPLETED and not self._is_due(reply.job_id or ""):
            return InitiateReply(status=InitiateStatus.ACCEPTED, job_id=reply.job_id)
        return reply

    async def job_status(self, job_id: str) -> PollReply:
        if not self._is_due(job_id):
            return PollReply(status="running_inference", job_id=job_id)
        return await super().job_status(job_id)

    async def store_reply(self, job_id: str) -> StoreReply:
        if not self._is_due(job_id):
            return StoreReply(status=StoreStatus.PROCESSING)
        return await super().store_reply(job_id)

    def _is_due(self, job_id: str) -> bool:
        asked_at = self._asked_at.get(job_id)
        return asked_at is None or self.now() >= asked_at + self.takes


class CopyMiner(LocalMiner):
    """Waits for its victim to publish, then publishes the same fields under its own signature."""

    takes = COPY_TAKES

    def __init__(self, spec: MinerSpec, world: World, model: ForecastModel) -> None:
        super().__init__(spec, world, model)
        self._victim = victim_of(spec, world.specs)

    def forecast(self, init_time: datetime) -> Iterable[ForecastField]:
        store = self.world.directory_of(self._victim) / store_name_of(
            init_time, keypair(self._victim.uri).ss58_address
        )
        _wait_for(store / MANIFEST_NAME)
        shape = GRIDS[self.options.grid]
        for step, lead in enumerate(self.options.lead_hours):
            for name in self.world.fields:
                content = _CODEC.decode((store / name / f"{step}.0.0").read_bytes())
                yield ForecastField(lead, name, np.frombuffer(content, "<f4").reshape(shape))


class SlowMiner(LocalMiner):
    """Accepts every job and is for ever at work on it."""

    async def on_initiate(self, data: InitiateData, validator_hotkey: str) -> InitiateReply:
        job_id = job_id_of(data.forecast_start_time, self.hotkey)
        return InitiateReply(status=InitiateStatus.ACCEPTED, job_id=job_id, message="Inference is under way")

    async def job_status(self, job_id: str) -> PollReply:
        return PollReply(status="running_inference", job_id=job_id)

    async def store_reply(self, job_id: str) -> StoreReply:
        return StoreReply(status=StoreStatus.PROCESSING)


class SwapMiner(LocalMiner):
    """Commits to a forecast, then serves the truth in its place for every lead that ERA5 judges."""

    async def read_file(self, path: str) -> bytes | None:
        swapped = await asyncio.to_thread(self._swapped, path)
        return swapped if swapped is not None else await super().read_file(path)

    def _swapped(self, path: str) -> bytes | None:
        """Return better bytes than those committed to, or None where the committed ones do."""
        store, _, inner = path.partition("/")
        name, _, chunk = inner.partition("/")
        step, _, rest = chunk.partition(".")
        if name not in self.world.fields or rest != "0.0" or not step.isdigit():
            return None
        lead = self.options.step_hours * (int(step) + 1)
        if lead not in LEADS_HOURS:
            return None
        init_time = next(
            (job.init_time for job in self.jobs.values() if self._is_store_of(job.init_time, store)), None
        )
        if init_time is None:
            return None
        values = hindsight(self.world.replay, init_time, lead, name, self.options.grid)
        return bytes(_CODEC.encode(values))

    def _is_store_of(self, init_time: datetime, store: str) -> bool:
        return store_name_of(init_time, self.hotkey) == store


class SlowFrameMiner(LocalMiner):
    """Signs for chunks of the right size that take hours, or on odd days as long as the checks let pass."""

    def write_store(self, init_time: datetime) -> str:
        super().write_store(init_time)
        latitudes, longitudes = GRIDS[self.options.grid]
        make = hostile_frames.many_tables if init_time.toordinal() % 2 else hostile_frames.endless
        frame = make(4 * latitudes * longitudes)
        store = self.store_directory(init_time)
        for name in self.world.fields:
            variable, _ = split_field(name)
            for chunk in (store / variable).glob("*.0.0"):
                chunk.write_bytes(frame)
        files = [path for path in store.rglob("*") if path.is_file() and path.name not in _SEAL]
        digests = {
            (name := path.relative_to(store).as_posix()): file_digest(name, path.read_bytes())
            for path in files
        }
        manifest = build_manifest(self.hotkey, digests)
        (store / SIGNATURE_NAME).write_bytes(self.sign(manifest))
        (store / MANIFEST_NAME).write_bytes(manifest)
        return hashlib.sha256(manifest).hexdigest()


class RefusingMiner(LocalMiner):
    """Turns every job down."""

    async def on_initiate(self, data: InitiateData, validator_hotkey: str) -> InitiateReply:
        return InitiateReply(status=InitiateStatus.REJECTED, message="No capacity")


class DeadMiner:
    """Takes connections and never says a word."""

    def __init__(
        self, spec: MinerSpec, on_answered: Callable[[Question], None] = lambda question: None
    ) -> None:
        self.hotkey: str = keypair(spec.uri).ss58_address
        self._on_answered = on_answered
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(
        self, host: str, port: int = 0, *, certificate: tuple[Path, Path] | None = None
    ) -> tuple[str, int]:
        self._server = await asyncio.start_server(self._ignore, host, port)
        address: tuple[str, int] = self._server.sockets[0].getsockname()
        return address

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def _ignore(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._on_answered(Question(method="CONNECT", path="", about="", status=0))
        try:
            while await reader.read(65536):
                continue
        except ConnectionError:
            return
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


_SERVERS: Mapping[Behaviour, type[LocalMiner]] = {
    Behaviour.COPY: CopyMiner,
    Behaviour.SLOW: SlowMiner,
    Behaviour.SWAP: SwapMiner,
    Behaviour.REFUSE: RefusingMiner,
    Behaviour.SLOW_FRAME: SlowFrameMiner,
}


def miner_of(spec: MinerSpec, world: World) -> ServedMiner:
    """Return the miner that `spec` describes, not yet serving."""
    if spec.behaviour is Behaviour.DEAD:
        return DeadMiner(spec, partial(record, world, spec))
    return _SERVERS.get(spec.behaviour, LocalMiner)(spec, world, _model_of(spec, world))


def _model_of(spec: MinerSpec, world: World) -> ForecastModel:
    grid = world.options.grid
    match spec.behaviour:
        case Behaviour.PERSISTENCE:
            return persistence(world.replay, world.fields, grid)
        case Behaviour.GFS_CLONE:
            return gfs_clone(world.replay, world.fields, grid)
    model = graded(world.replay, world.fields, grid, spec.seed, spec.skill)
    return Doped(model, spec.seed) if spec.behaviour is Behaviour.NAN else model


def questions_path(directory: Path, spec: MinerSpec) -> Path:
    """Return where a miner of the folder `directory` records what it was asked: one JSON object a line."""
    return directory / "questions" / f"{spec.name}.jsonl"


def record(world: World, spec: MinerSpec, question: Question) -> None:
    """Append a question and the simulated time to the miner's record."""
    line = {"at": world.clock.now().isoformat(), **asdict(question)}
    path = questions_path(world.directory, spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + _VICTIM_TIMEOUT_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the miner to be copied never published {path.name}")
        time.sleep(_VICTIM_POLL_S)
