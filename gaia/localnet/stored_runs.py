"""Makes stored runs in one process, with the real task, rules and handlers but without a network."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from bittensor_core import Keypair

from gaia.localnet.miners.forecasters import bit_rounded, graded
from gaia.localnet.weather.replay import WeatherReplay
from gaia.miner.inference import ForecastField
from gaia.miner.store import StoreWriter
from gaia.tasks.defined_tasks.base import Archives, JobOffer, SignedManifest, StoreAccess
from gaia.tasks.defined_tasks.weather.copies.copy_book import CopyBook
from gaia.tasks.defined_tasks.weather.task import WeatherTask
from gaia.tasks.defined_tasks.weather.units import UNITS, DecodeGfs, DecodeVerification
from gaia.tasks.defined_tasks.weather.validator.handlers import resolve
from gaia.tasks.defined_tasks.weather.validator.reference import store_fields
from gaia.validator.utils.chain.metagraph import Metagraph, Neuron
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import GaiaError, MinerFault
from gaia.validator.utils.identities import Hotkey, MinerJobId
from gaia.validator.utils.ipc_types import Failure, ResultUnit, WorkUnit

if TYPE_CHECKING:
    from gaia.localnet.population import MinerSpec
    from gaia.validator.db.connection import Database
    from gaia.validator.utils.settings.contract import ContractSettings
    from gaia.validator.utils.settings.handed import WeatherSettings

_NETUID = 57
_PERSISTENCE = "persistence"
_MOST_TICKS = 100_000


async def make_runs(
    settings: WeatherSettings,
    database: Database,
    miners: Sequence[MinerSpec],
    first_init_time: datetime,
    scratch: Path,
) -> None:
    """Play every run from `first_init_time` to the last one, from its opening to overall scores.

    Parameters
    ----------
    settings
        Settings of the validator; `last_run` bounds the runs.
    database
        Database that holds the schema.
    miners
        Miners that are honest or use persistence.
    scratch
        Folder of the miners' stores.
    """
    replay = WeatherReplay()
    clock = _Clock(first_init_time + timedelta(hours=settings.schedule.run_hour_utc))
    world = _Miners(settings.contract, miners, replay, scratch)
    archive = _Archive()
    pool = _Pool(replay)
    task = WeatherTask(
        settings,
        database,
        miners=world,
        archives=Archives(gfs=archive, era5=archive, climatology=archive),
        pool=pool,
        metagraph=world,
        clock=clock,
        copies=CopyBook(settings, database, pool),
    )
    for _ in range(_MOST_TICKS):
        due = await task.advance(clock.now())
        if due is None:
            return
        await clock.idle_until(due)
    raise AssertionError(f"still busy at {clock.now()}")


class _Clock:
    """Clock that jumps to the next due moment."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    async def idle_until(self, moment: datetime | None) -> None:
        self._now = max(self._now, moment or self._now)


class _Archive:
    """Archive that has all data at once; `_Pool` makes the fields that it would decode."""

    async def fetch(self, *_: Any) -> None:
        return


class _Miners:
    """The miners and their metagraph."""

    def __init__(
        self, contract: ContractSettings, miners: Sequence[MinerSpec], replay: WeatherReplay, scratch: Path
    ) -> None:
        self._contract = contract
        self._replay = replay
        self._scratch = scratch
        self._keys = {spec.index + 1: Keypair.create_from_uri(spec.uri) for spec in miners}
        self._specs = {spec.index + 1: spec for spec in miners}
        self._signed: dict[str, SignedManifest] = {}

    def latest(self) -> Metagraph:
        own = Keypair.create_from_uri("//Validator").ss58_address
        hotkeys = {0: own} | {uid: key.ss58_address for uid, key in self._keys.items()}
        return Metagraph(
            netuid=_NETUID,
            block=1000,
            neurons=[_neuron(uid, hotkey) for uid, hotkey in hotkeys.items()],
            own_hotkey=own,
            own_uid=0,
            tempo=99,
            epoch=10,
            next_epoch_block=None,
            weights_rate_limit=10,
            min_allowed_weights=1,
            weights_version=0,
            commit_reveal=False,
            owner_hotkey=own,
        )

    async def request_forecast(self, miner: Neuron, init_time: datetime) -> JobOffer:
        job_id = MinerJobId(f"{miner.uid}-{init_time:%Y%m%d%H}")
        self._signed[job_id] = self._forecast(miner.uid, init_time, self._scratch / job_id)
        return JobOffer(accepted=True, job_id=job_id, message="")

    async def forecast_ready(self, miner: Neuron, job_id: MinerJobId) -> bool:
        return job_id in self._signed

    async def open_store(self, miner: Neuron, job_id: MinerJobId) -> StoreAccess:
        digest = hashlib.sha256(self._signed[job_id].content).hexdigest()
        return StoreAccess(url_path=f"/{job_id}", manifest_sha256=digest, token="")

    async def fetch_manifest(self, miner: Neuron, access: StoreAccess) -> SignedManifest:
        return self._signed[access.url_path[1:]]

    async def fetch_files(
        self, miner: Neuron, access: StoreAccess, paths: Sequence[str], directory: Path
    ) -> int:
        total = 0
        for path in paths:
            source, target = self._scratch / access.url_path[1:] / path, directory / path
            if not source.exists():
                raise MinerFault(f"{path} answers 404")
            target.parent.mkdir(parents=True, exist_ok=True)
            content = source.read_bytes()
            target.write_bytes(content)
            total += len(content)
        return total

    def _forecast(self, uid: int, init_time: datetime, directory: Path) -> SignedManifest:
        contract, spec = self._contract, self._specs[uid]
        step = contract.forecast_step_hours
        leads = [step * number for number in range(1, contract.forecast_steps + 1)]
        writer = StoreWriter(directory, init_time, contract.grid_degrees, leads)
        for name, lead in sorted(_asked_for(contract)):
            if spec.behaviour == _PERSISTENCE:
                values = bit_rounded(self._replay.persistence(init_time, name, contract.grid_degrees))
                writer.write(ForecastField(lead, name, values))
            else:
                model = graded(self._replay, [name], contract.grid_degrees, spec.seed, spec.skill)
                for field in model.forecast(init_time, [lead]):
                    writer.write(field)
        key = self._keys[uid]
        content = writer.seal(key.ss58_address, key.sign)
        return SignedManifest(content=content, signature=bytes(key.sign(content)))


class _Pool:
    """Runs units in this process; takes reference fields from the replay instead of decoding them."""

    def __init__(self, replay: WeatherReplay) -> None:
        self._replay = replay

    async def dispatch_and_wait(self, unit: WorkUnit) -> ResultUnit:
        wall, cpu = time.perf_counter(), time.process_time()
        value, failure = None, None
        try:
            value = self._value(unit)
        except GaiaError as error:
            failure = Failure.of(error)
        return ResultUnit(
            job_id=unit.job_id,
            attempt=1,
            value=value,
            failure=failure,
            wall_s=time.perf_counter() - wall,
            cpu_s=time.process_time() - cpu,
        )

    def _value(self, work: WorkUnit) -> Any:
        unit = msgspec.convert(work.payload, UNITS[work.handler])
        if not isinstance(unit, DecodeGfs | DecodeVerification):
            return resolve(work.handler)(work.payload)
        fields = {name: self._reference(unit, name) for name in unit.fields}
        return msgspec.to_builtins(store_fields(fields, unit.fields, unit.grid, Path(unit.out_dir)))

    def _reference(self, unit: DecodeGfs | DecodeVerification, name: str) -> Any:
        if isinstance(unit, DecodeGfs):
            init_time = datetime.fromisoformat(unit.init_time)
            return self._replay.gfs_forecast(init_time, unit.lead_hours, name, unit.grid)
        if unit.kind == "climatology":
            return self._replay.climatology(name, unit.grid)
        return self._replay.truth(datetime.fromisoformat(unit.valid_time), name, unit.grid)


def small_settings(data_dir: Path, first_init_time: datetime, days: int, **changes: Any) -> Settings:
    """Return settings for `days` small daily runs whose inputs are kept."""
    values: dict[str, Any] = {
        "data_dir": data_dir,
        "run_jitter_minutes": 0.0,
        "last_run": first_init_time.astimezone(UTC) + timedelta(days=days - 1),
        "grid_degrees": "1.0",
        "forecast_steps": 8,
        "day1_fields": ["2t", "msl"],
        "final_fields": ["2t", "msl"],
        "final_lead_hours": [24, 48],
        "keep_inputs_days": 3650.0,
    }
    return Settings(**(values | changes))


def _asked_for(contract: ContractSettings) -> set[tuple[str, int]]:
    """Yield every (field, lead) that is scored."""
    first = {(name, lead) for name in contract.day1_fields for lead in contract.day1_lead_hours}
    return first | {(name, lead) for name in contract.final_fields for lead in contract.final_lead_hours}


def _neuron(uid: int, hotkey: str) -> Neuron:
    return Neuron(
        uid=uid,
        hotkey=Hotkey(hotkey),
        coldkey="",
        ip=f"127.0.0.{uid + 1}" if uid else "",
        port=33333,
        stake=0.0 if uid else 1000.0,
        validator_permit=uid == 0,
        last_update=0,
        registered_at=uid,
    )
