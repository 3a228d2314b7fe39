"""The miners of a local subnet, honest and dishonest; each differs from the reference miner in one place."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
from numcodecs import Blosc

from gaia.localnet.miners import hostile_frames
from gaia.localnet.miners.forecasters import Doped, gfs_clone, graded, hindsight, persistence
from gaia.localnet.miners.hostile import HOSTILE_MINERS
from gaia.localnet.miners.local_miner import LocalMiner, ServedMiner, World, record
from gaia.localnet.population import Behaviour, MinerSpec, victim_of
from gaia.localnet.wallets import keypair
from gaia.miner.inference import ForecastField, ForecastModel
from gaia.miner.server import Question
from gaia.tasks.defined_tasks.weather.variables import GRIDS, split_field
from gaia.tasks.defined_tasks.weather.wire.manifest import MANIFEST_NAME, SIGNATURE_NAME, build_manifest
from gaia.tasks.defined_tasks.weather.wire.messages import (
    InitiateData,
    InitiateReply,
    InitiateStatus,
    PollReply,
    StoreReply,
    StoreStatus,
    job_id_of,
    store_name_of,
)
from gaia.tasks.defined_tasks.weather.wire.store_layout import file_digest
from gaia.validator.utils.settings.contract import LEADS_HOURS

COPY_TAKES = timedelta(minutes=12)
"""Simulated time from the victim's answer to the copy's: two polls."""
_VICTIM_TIMEOUT_S = 60.0
_VICTIM_POLL_S = 0.05
_SEAL = {MANIFEST_NAME, SIGNATURE_NAME}
_CODEC = Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE)


class CopyMiner(LocalMiner):
    """Copies its victim's published fields and signs them as its own."""

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
    """Accepts every job and never finishes one."""

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
        """Return better bytes than the committed ones; None if the committed ones are served."""
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
    """Signs chunks that take hours to decode or, on odd days, as long as the checks allow."""

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
    """Rejects every job."""

    async def on_initiate(self, data: InitiateData, validator_hotkey: str) -> InitiateReply:
        return InitiateReply(status=InitiateStatus.REJECTED, message="No capacity")


class DeadMiner:
    """Accepts connections and never answers."""

    def __init__(
        self, spec: MinerSpec, on_answered: Callable[[Question], None] = lambda _question: None
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
    **HOSTILE_MINERS,
}


def miner_of(spec: MinerSpec, world: World) -> ServedMiner:
    """Return the miner that `spec` describes, before it serves."""
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


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + _VICTIM_TIMEOUT_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the miner to be copied never published {path.name}")
        time.sleep(_VICTIM_POLL_S)
