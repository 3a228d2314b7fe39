"""The base class of the local subnet's miners, and the data that they share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gaia.localnet.population import MinerSpec
from gaia.localnet.wallets import keypair
from gaia.localnet.weather.replay import WeatherReplay
from gaia.miner.jobs import MinerOptions
from gaia.miner.server import Question, ReferenceMiner
from gaia.tasks.defined_tasks.weather.variables import SURFACE_FIELDS
from gaia.tasks.defined_tasks.weather.wire.messages import (
    InitiateData,
    InitiateReply,
    InitiateStatus,
    PollReply,
    StoreReply,
    StoreStatus,
    job_id_of,
)
from gaia.validator.core.clock import SimulatedClock

if TYPE_CHECKING:
    from gaia.miner.inference import ForecastModel

ANSWER_TAKES = timedelta(minutes=1)
"""Simulated time from a request to its forecast, independent of the real time that it needs."""


class ServedMiner(Protocol):
    """Interface of a miner that the farm needs."""

    hotkey: str

    async def serve(
        self, host: str, port: int = 0, *, certificate: tuple[Path, Path] | None = None
    ) -> tuple[str, int]: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Data that the miners of one population share."""

    replay: WeatherReplay
    specs: Sequence[MinerSpec]
    directory: Path
    """Folder that holds one folder of forecasts per miner."""
    clock: SimulatedClock
    options: MinerOptions
    """Options of all miners; each miner replaces the directory by its own."""
    fields: tuple[str, ...] = SURFACE_FIELDS

    def directory_of(self, spec: MinerSpec) -> Path:
        return self.directory / spec.name


class LocalMiner(ReferenceMiner):
    """The reference miner on the simulated clock, which it holds while it computes.

    The simulated clock alone decides when its forecast is ready. Every request is recorded in
    `questions_path`, in the order of the answers.
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


def questions_path(directory: Path, spec: MinerSpec) -> Path:
    """Return the file in which the miner of `directory` records its requests, one JSON object per line."""
    return directory / "questions" / f"{spec.name}.jsonl"


def record(world: World, spec: MinerSpec, question: Question) -> None:
    """Append a request, its simulated time and that of its answer in Unix seconds to the miner's record."""
    line = {"at": world.clock.now().isoformat(), "answered_at": time.time(), **asdict(question)}
    path = questions_path(world.directory, spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
