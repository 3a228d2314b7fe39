"""Miners, archives and a pool without a network, for tests of the story itself."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from bittensor_core import Keypair

from gaia.tasks.defined_tasks.base import Archives, JobOffer, SignedManifest, StoreAccess
from gaia.tasks.defined_tasks.weather.validator.copies.sketches import POINTS
from gaia.tasks.defined_tasks.weather.validator.handlers import resolve
from gaia.tasks.defined_tasks.weather.wire.manifest import build_manifest
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path, metadata_path
from gaia.validator.utils.chain.metagraph import Metagraph, Neuron
from gaia.validator.utils.errors import (
    GaiaError,
    MinerFault,
    MinerUnreachable,
    NotYetAvailable,
    QuarantinedError,
)
from gaia.validator.utils.identities import Hotkey, MinerJobId
from gaia.validator.utils.ipc_types import Failure, ResultUnit, WorkUnit

FIELDS = ["2t", "msl"]
LEADS = [24, 48]
START = datetime(2026, 3, 25, 17, 59, tzinfo=UTC)
VALIDATOR = Keypair.create_from_uri("//Validator").ss58_address


class FakeClock:
    """A clock that jumps to whatever it is told is due next."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    async def idle_until(self, moment: datetime | None) -> None:
        if moment is not None and moment > self._now:
            self._now = moment


class FakeMetagraph:
    """A metagraph that tests may change."""

    def __init__(self, metagraph: Metagraph) -> None:
        self.metagraph = metagraph

    def latest(self) -> Metagraph:
        return self.metagraph


def a_metagraph(hotkeys: list[str], **changes: Any) -> Metagraph:
    """Our validator at uid 0, a miner for each of `hotkeys` after it."""

    def row(uid: int, hotkey: str) -> Neuron:
        return Neuron(
            uid=uid,
            hotkey=Hotkey(hotkey),
            coldkey="cold",
            ip="127.0.0.2" if uid else "",
            port=33333,
            stake=0.0 if uid else 2000.0,
            validator_permit=uid == 0,
            last_update=0,
            registered_at=uid,
        )

    defaults: dict[str, Any] = {
        "netuid": 57,
        "block": 1000,
        "neurons": [row(uid, hotkey) for uid, hotkey in enumerate([VALIDATOR, *hotkeys])],
        "own_hotkey": VALIDATOR,
        "own_uid": 0,
        "tempo": 99,
        "weights_rate_limit": 10,
        "min_allowed_weights": 1,
        "weights_version": 0,
        "commit_reveal": False,
        "owner_hotkey": VALIDATOR,
    }
    values = defaults | changes
    epochs = {"epoch": values["block"] // (values["tempo"] + 1), "next_epoch_block": None}
    return Metagraph(**(epochs | values))


class FakeMiner:
    """One miner that keeps its word; tests change what should go wrong."""

    def __init__(self, uri: str) -> None:
        self.key = Keypair.create_from_uri(uri)
        self.hotkey = self.key.ss58_address
        self.accepts = True
        self.unreachable = False
        self.polls_until_ready = 0
        self.offline_leads: set[int] = set()
        self.offline_field = "2t"
        self.bad_leads: set[int] = set()
        self.killer_leads: set[int] = set()
        self.requests = 0
        self.raises: dict[str, list[BaseException]] = {}
        """Call -> what its next calls raise, last first."""
        self.fetching: asyncio.Event | None = None
        """Set by a test: files come once this is set."""
        self.is_fetched_from = asyncio.Event()
        """Set once files are asked for."""
        self.copies: FakeMiner | None = None
        """Whose forecast it publishes, with whose errors."""
        paths = [metadata_path(field) for field in FIELDS]
        paths += [chunk_path(field, lead, 6) for field in FIELDS for lead in [6, 12, *LEADS]]
        self.manifest = build_manifest(self.hotkey, {path: self.digest_of(path) for path in paths})

    @staticmethod
    def digest_of(path: str) -> str:
        """The digest that a manifest names for a file."""
        return hashlib.sha256(path.encode()).hexdigest()

    @property
    def manifest_sha256(self) -> str:
        return hashlib.sha256(self.manifest).hexdigest()


class FakeMiners:
    """Implements `Miners` for a population of `FakeMiner`."""

    def __init__(self, miners: list[FakeMiner]) -> None:
        self._miners = {miner.hotkey: miner for miner in miners}

    def move(self, old: str, new: str) -> None:
        """Let a miner answer under another hotkey, and no longer under its own."""
        self._miners[new] = self._miners.pop(old)

    def _reach(self, neuron: Neuron, call: str) -> FakeMiner:
        miner = self._miners[neuron.hotkey]
        miner.requests += 1
        if errors := miner.raises.get(call):
            raise errors.pop()
        if miner.unreachable:
            raise MinerUnreachable("connection refused")
        return miner

    async def request_forecast(self, miner: Neuron, init_time: datetime) -> JobOffer:
        found = self._reach(miner, "request_forecast")
        return JobOffer(accepted=found.accepts, job_id=MinerJobId(f"job-{miner.uid}"), message="busy")

    async def forecast_ready(self, miner: Neuron, job_id: MinerJobId) -> bool:
        found = self._reach(miner, "forecast_ready")
        found.polls_until_ready -= 1
        return found.polls_until_ready < 0

    async def open_store(self, miner: Neuron, job_id: MinerJobId) -> StoreAccess:
        found = self._reach(miner, "open_store")
        return StoreAccess(url_path="/forecasts/x.zarr", manifest_sha256=found.manifest_sha256, token="t")

    async def fetch_manifest(self, miner: Neuron, access: StoreAccess) -> SignedManifest:
        found = self._reach(miner, "fetch_manifest")
        return SignedManifest(content=found.manifest, signature=found.key.sign(found.manifest))

    async def fetch_files(self, miner: Neuron, access: StoreAccess, paths: Any, directory: Path) -> int:
        found = self._reach(miner, "fetch_files")
        found.is_fetched_from.set()
        if found.fetching is not None:
            await found.fetching.wait()
        for path in paths:
            for lead in found.offline_leads:
                if path == chunk_path(found.offline_field, lead, 6):
                    raise MinerUnreachable("timed out")
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.write_text(found.hotkey)
        return len(paths)


Dispatch = Callable[[WorkUnit], Coroutine[Any, Any, ResultUnit]]


class FakePool:
    """Answers each handler as the real one would; the score is the miner's place in the list."""

    def __init__(self, miners: list[FakeMiner]) -> None:
        self._miners = {miner.hotkey: (place, miner) for place, miner in enumerate(miners)}
        self.units: list[WorkUnit] = []
        self.revision = ""
        """Which values the sources have."""
        self.interrupt: Callable[[WorkUnit], None] | None = None
        self.dispatch: Dispatch = self._dispatch
        """What answers a unit; a test may put another in its place."""

    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        return await self.dispatch(unit)

    async def _dispatch(self, unit: WorkUnit) -> ResultUnit:
        self.units.append(unit)
        if self.interrupt is not None:
            self.interrupt(unit)
        try:
            value = self._answer(unit)
        except GaiaError as error:
            return ResultUnit(job_id=unit.job_id, attempt=1, failure=Failure.of(error))
        return ResultUnit(job_id=unit.job_id, attempt=1, value=value)

    def _answer(self, unit: WorkUnit) -> dict[str, Any]:
        payload = unit.payload
        if unit.handler.endswith("_compute"):
            return self._reference(payload)
        if unit.handler == "weather.hash.forecast_verify":
            return {"verified": len(payload["digests"]), "bytes": 1}
        if unit.handler == "weather.score.forecast_verification":
            field = {"finite_fraction": 0.5, "minimum": 1.0, "maximum": 2.0, "mean": 1.5, "plausible": False}
            return {"fields": {"2t": field}}
        if unit.handler.startswith("weather.copies."):
            found: dict[str, Any] = resolve(unit.handler)(payload)
            return found
        if unit.handler == "weather.score.batch":
            return {hotkey: self._member(payload, hotkey) for hotkey in payload["forecasts"]}
        return self._forecast(payload, Path(payload["store_dir"]).name)

    def _member(self, payload: dict[str, Any], hotkey: str) -> dict[str, Any]:
        """One forecast's part of a batch; what kills workers takes the whole batch with it."""
        spooled = payload["forecasts"][hotkey]
        try:
            for path in spooled["digests"]:
                if Path(spooled["store_dir"], path).read_text() != hotkey:
                    raise MinerFault(f"{path} is not what the manifest promised")
            return self._forecast(payload | spooled, hotkey)
        except MinerFault as error:
            return {"failure": {"error_type": "MinerFault", "message": str(error)}}

    def _forecast(self, payload: dict[str, Any], hotkey: str) -> dict[str, Any]:
        place, miner = self._miners[hotkey]
        if payload["lead_hours"] in miner.bad_leads:
            raise MinerFault("2t/3.0.0: the bytes are not those promised")
        if payload["lead_hours"] in miner.killer_leads:
            raise QuarantinedError("killed 3 workers")
        if sketch := payload.get("sketch"):
            original = self._miners[miner.copies.hotkey][0] if miner.copies else place
            a_sketch(Path(sketch), original, payload["lead_hours"], 1)
            a_sketch(Path(sketch).with_name("public.f32"), 999, payload["lead_hours"], 3)
        return self._score(payload, 1.0 / (place + 1))

    def _reference(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Write a field's values, the same in each data folder, under their digest."""
        folder, fields = Path(payload["out_dir"]), {}
        for name in payload["fields"]:
            content = " ".join([name, *folder.parts[-3:], self.revision]).encode()
            sha256 = hashlib.sha256(content).hexdigest()
            path = folder / f"{name}.{sha256[:16]}.f32"
            path.write_bytes(content)
            fields[name] = {"path": str(path), "sha256": sha256}
        return {"fields": fields, "digest": "d" * 64}

    @staticmethod
    def _score(payload: dict[str, Any], skill: float) -> dict[str, Any]:
        day1 = "baseline" in payload
        components = [
            {
                "field": field,
                "lead_hours": payload["lead_hours"],
                "rmse": 1.0,
                "mse": 1.0,
                "mae": 0.8,
                "bias": 0.0,
                "acc": 0.5,
                "skill_climatology": skill,
                "skill_gfs": skill if day1 else None,
                "pattern_correlation": 0.9 if day1 else None,
                "clone_distance": 1e6 if day1 else None,
            }
            for field in payload["fields"]
        ]
        return {"components": components, "field_digests": dict.fromkeys(payload["fields"], "e" * 64)}


def a_sketch(path: Path, seed: int, lead_hours: int, forecasts: int) -> None:
    """Write errors that are a seed's own, as large as everybody's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, lead_hours])
    rng.standard_normal((len(FIELDS), forecasts, POINTS)).astype("<f4").tofile(path)


class FakeArchive:
    """Publishes everything, after a delay that tests may set; counts what was fetched."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.fetched: list[str] = []
        self.published_after = timedelta()
        self.failures: list[Exception] = []

    async def fetch(self, moment: datetime, *rest: Any) -> None:
        if self.failures:
            raise self.failures.pop()
        if self._clock.now() < moment + self.published_after:
            raise NotYetAvailable("not published", moment + self.published_after)
        destination = rest[-1]
        self.fetched.append(str(destination))
        destination.parent.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeArchives(Archives):
    """Archives of which a test may ask more than the clients do."""

    gfs: FakeArchive
    era5: FakeArchive
    climatology: FakeArchive


def archives(clock: FakeClock) -> FakeArchives:
    return FakeArchives(gfs=FakeArchive(clock), era5=FakeArchive(clock), climatology=FakeArchive(clock))
