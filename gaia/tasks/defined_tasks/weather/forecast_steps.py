"""The steps of one miner's forecast: ask, freeze, fetch, verify, score."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from gaia.tasks.defined_tasks.base import Clock, ComputePool, MetagraphView, Miners
from gaia.tasks.defined_tasks.weather.kept_inputs import KeptInputs
from gaia.tasks.defined_tasks.weather.lifecycle import Event, moves_for
from gaia.tasks.defined_tasks.weather.manifest import verify_manifest
from gaia.tasks.defined_tasks.weather.reference_shelf import FieldFiles, digests_of, paths_of
from gaia.tasks.defined_tasks.weather.score_book import ScoreBook
from gaia.tasks.defined_tasks.weather.store_layout import chunk_path, metadata_path
from gaia.validator.db import queries
from gaia.validator.db.connection import Database
from gaia.validator.db.queries import Forecast, Run
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import GaiaError, MinerFault, MinerUnreachable
from gaia.validator.utils.ipc_types import Neuron, WorkUnit

log = structlog.get_logger(__name__)


class ForecastSteps:
    """What is done for one forecast at a time; failures are raised, never settled here."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        miners: Miners,
        pool: ComputePool,
        metagraph: MetagraphView,
        clock: Clock,
        book: ScoreBook,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._database = database
        self._miners = miners
        self._pool = pool
        self._metagraph = metagraph
        self._clock = clock
        self._book = book
        self._wall_clock = wall_clock
        self._kept = KeptInputs(settings, database)
        self._spool = settings.data_dir.resolve() / "spool"

    async def ask(self, run: Run, forecast: Forecast, now: datetime) -> None:
        """Ask the miner for a forecast and note that it accepted."""
        offer = await self._miners.request_forecast(self._neuron(forecast), run.init_time)
        if not offer.accepted:
            raise MinerFault(f"refused: {offer.message}")
        async with self._database.transaction() as connection:
            await queries.record_job(connection, forecast, offer.job_id)
            await queries.advance_forecast(connection, forecast, moves_for(Event.ACCEPTED), now)

    async def freeze(self, forecast: Forecast) -> bool:
        """Freeze the manifest once the forecast is ready; False if it is not.

        Raises
        ------
        MinerFault
            If the freeze window is over, or the manifest does not hold.
        """
        self._require_window(forecast)
        miner, job_id = self._neuron(forecast), forecast.job_id or ""
        if not await self._miners.forecast_ready(miner, job_id):
            return False
        access = await self._miners.open_store(miner, job_id)
        signed = await self._miners.fetch_manifest(miner, access)
        frozen = verify_manifest(signed.content, signed.signature, access.manifest_sha256, forecast.hotkey)
        now = self._require_window(forecast)
        async with self._database.transaction() as connection:
            await queries.record_manifest(
                connection, forecast, signed.content, signed.signature, frozen.sha256, now
            )
            await queries.advance_forecast(connection, forecast, moves_for(Event.MANIFEST_FROZEN), now)
        log.info(
            "manifest_frozen",
            run_id=forecast.run_id,
            hotkey=forecast.hotkey,
            sha256=frozen.sha256,
            files=len(frozen.files),
        )
        return True

    def _require_window(self, forecast: Forecast) -> datetime:
        """Return the present, if a manifest may still be frozen."""
        now = self._clock.now()
        if now > forecast.opened_at + timedelta(hours=self._settings.freeze_window_hours):
            raise MinerFault(f"no manifest within {self._settings.freeze_window_hours:g} h")
        return now

    async def score(
        self,
        forecast: Forecast,
        kind: str,
        lead_hours: int,
        references: Mapping[str, FieldFiles],
        now: datetime,
    ) -> None:
        """Fetch one lead's chunks, verify and score them, and record the outcome."""
        fields = list(references["truth"])
        steps = self._settings.forecast_step_hours
        metadata = sorted({metadata_path(field) for field in fields})
        chunks = [chunk_path(field, lead_hours, steps) for field in fields]
        digests = self._promised(forecast, [*metadata, *chunks])
        store = self._spool / forecast.run_id / forecast.hotkey
        await self._fetch(forecast, store, metadata, chunks, digests)
        payload = self._payload(store, digests) | {
            "lead_hours": lead_hours,
            "fields": fields,
            **{role: paths_of(files) for role, files in references.items()},
        }
        handler = "weather.score.day1" if kind == "day1" else "weather.score.era5_final"
        try:
            value = await self._run(handler, f"{_name(forecast)}/{kind}/{lead_hours}", payload)
        except MinerFault as error:
            error.add_note(await self._diagnosis(forecast, payload))
            raise
        truth_digests = digests_of(references["truth"])
        inputs = self._kept.describe(handler, payload, references)
        await self._book.record(forecast, kind, lead_hours, value, truth_digests, now, inputs)
        self._kept.release(store, chunks)

    async def _fetch(
        self,
        forecast: Forecast,
        store: Path,
        metadata: list[str],
        chunks: list[str],
        digests: Mapping[str, str],
    ) -> None:
        """Bring the lead's files into the spool; geometry that breaks the contract ends it early."""
        miner = self._neuron(forecast)
        access = await self._miners.open_store(miner, forecast.job_id or "")
        if access.manifest_sha256 != forecast.manifest_sha256:
            raise MinerFault("the manifest was changed after it was frozen")
        if not all((store / path).exists() for path in metadata):
            await self._miners.fetch_files(miner, access, metadata, store)
            payload = self._payload(store, {path: digests[path] for path in metadata})
            await self._run("weather.hash.forecast_verify", f"{_name(forecast)}/metadata", payload)
        await self._miners.fetch_files(miner, access, chunks, store)

    async def _diagnosis(self, forecast: Forecast, payload: Mapping[str, Any]) -> str:
        """Describe the rejected fields for the record; a failure to do so is described instead."""
        request = {
            key: payload[key]
            for key in ("store_dir", "digests", "grid", "steps", "step_hours", "lead_hours", "fields")
        }
        try:
            value = await self._run(
                "weather.score.forecast_verification", f"{_name(forecast)}/diagnosis", request
            )
        except GaiaError as error:
            return f"not readable: {error}"
        return "; ".join(
            f"{field}: {entry['finite_fraction']:.6f} finite,"
            f" {entry['minimum']} to {entry['maximum']}, mean {entry['mean']}"
            for field, entry in value["fields"].items()
        )

    async def _run(self, handler: str, job_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        result = await self._pool.dispatch_and_wait(
            WorkUnit(
                job_id=job_id,
                handler=handler,
                payload=payload,
                deadline_at=self._wall_clock() + self._settings.unit_timeout_s,
                trace_id=job_id,
            )
        )
        return result.unwrap() | {"cpu_s": result.cpu_s}

    def _payload(self, store: Path, digests: Mapping[str, str]) -> dict[str, Any]:
        return {
            "store_dir": str(store),
            "digests": dict(digests),
            "grid": self._settings.grid_degrees,
            "steps": self._settings.forecast_steps,
            "step_hours": self._settings.forecast_step_hours,
        }

    def _promised(self, forecast: Forecast, paths: list[str]) -> dict[str, str]:
        files: dict[str, str] = json.loads(forecast.manifest or b"{}")["files"]
        if missing := [path for path in paths if path not in files]:
            raise MinerFault(f"the frozen manifest lacks {len(missing)} files, such as {missing[0]}")
        return {path: files[path] for path in paths}

    def _neuron(self, forecast: Forecast) -> Neuron:
        metagraph = self._metagraph.latest()
        for neuron in metagraph.neurons if metagraph else []:
            if neuron.hotkey == forecast.hotkey:
                if neuron.registered_at != forecast.registered_at:
                    raise MinerFault("the hotkey was registered anew after the run opened")
                return neuron
        raise MinerUnreachable("the hotkey is not in the metagraph")


def _name(forecast: Forecast) -> str:
    return f"{forecast.run_id}/{forecast.hotkey}"
