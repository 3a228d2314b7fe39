"""The steps of one miner's forecast: request, freeze, fetch, verify, score."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from gaia.tasks.defined_tasks.weather.copies.copy_book import sketch_folder
from gaia.tasks.defined_tasks.weather.copies.sketch_layout import sketch_name
from gaia.tasks.defined_tasks.weather.forecasts.diagnosis import diagnose
from gaia.tasks.defined_tasks.weather.forecasts.lead_batches import LeadBatches
from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import Event, moves_for
from gaia.tasks.defined_tasks.weather.forecasts.promises import Promises
from gaia.tasks.defined_tasks.weather.forecasts.received import Received
from gaia.tasks.defined_tasks.weather.forecasts.swaps import Swaps
from gaia.tasks.defined_tasks.weather.forecasts.trial import Trial
from gaia.tasks.defined_tasks.weather.references.files import FieldFiles, paths_of
from gaia.tasks.defined_tasks.weather.rules import RuleSet
from gaia.tasks.defined_tasks.weather.unit_client import Done, UnitClient
from gaia.tasks.defined_tasks.weather.units import (
    SCORES_ONE,
    BatchMember,
    DescribeForecast,
    LeadScored,
    LeadUnit,
    Spooled,
    VerifyForecast,
    score_batch,
    score_one,
)
from gaia.tasks.defined_tasks.weather.wire.manifest import verify_manifest
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path, metadata_path
from gaia.validator.db import queries
from gaia.validator.db.inputs import LeadInputs
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.chain.metagraph import Registration
from gaia.validator.utils.errors import (
    GaiaError,
    InvalidManifest,
    MinerFault,
    MinerUnreachable,
    OwnFailure,
    Refused,
    RegisteredAnew,
    rebuild,
)
from gaia.validator.utils.identities import Hotkey, JobId, MinerJobId, RunId

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import Clock, MetagraphView, Miners, UnitRunner
    from gaia.tasks.defined_tasks.weather.forecasts.freeze_window import FreezeWindow
    from gaia.tasks.defined_tasks.weather.forecasts.score_book import Lead, ScoreBook
    from gaia.tasks.defined_tasks.weather.kept_inputs import KeptInputs
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.db.queries import Forecast, Run
    from gaia.validator.utils.chain.metagraph import Neuron
    from gaia.validator.utils.settings.contract import ContractSettings
    from gaia.validator.utils.settings.files import FilesSettings
    from gaia.validator.utils.settings.pool import PoolSettings

log = structlog.get_logger(__name__)
_security = structlog.get_logger("security")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What scores one lead of a run under one rule set."""

    rules: RuleSet
    fields: Sequence[str]
    batches: LeadBatches[Spooled, Done[LeadScored]]
    inputs: LeadInputs
    sketches: Path | None
    """Folder for the sketches of errors; None if no sketches are made."""

    def sketch_of(self, hotkey: Hotkey) -> str:
        """Return the path for the sketch of a forecast; "" if none is made."""
        return str(self.sketches / sketch_name(hotkey)) if self.sketches else ""


class ForecastSteps:
    """Steps for one forecast at a time; they raise failures and never judge them."""

    def __init__(
        self,
        *,
        contract: ContractSettings,
        limits: PoolSettings,
        files: FilesSettings,
        database: Database,
        miners: Miners,
        pool: UnitRunner,
        metagraph: MetagraphView,
        clock: Clock,
        book: ScoreBook,
        window: FreezeWindow,
        kept: KeptInputs,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = contract
        self._limits = limits
        self._database = database
        self._miners = miners
        self._units = UnitClient(pool, limits.unit_timeout_s, wall_clock)
        self._metagraph = metagraph
        self._clock = clock
        self._book = book
        self._window = window
        self._kept = kept
        self._promises = Promises(database)
        self._spool = files.data_dir.resolve() / "spool"
        self._swaps = Swaps()
        self.trial = Trial(book)
        self.received = Received()
        """Bytes of complete downloads, by run."""

    async def ask(self, run: Run, forecast: Forecast, now: datetime) -> None:
        """Ask the miner for a forecast, and record its acceptance.

        Raises
        ------
        MissedByUs
            If the validator was away for too long to freeze this manifest.
        OwnFailure
            If our hotkey is not registered.
        """
        self._window.require_open(forecast, self._clock.now())
        self._require_registration()
        offer = await self._miners.request_forecast(self._neuron(forecast), run.init_time)
        if not offer.accepted:
            raise Refused(f"refused: {offer.message}")

        async def write(connection: Connection) -> None:
            await queries.record_job(connection, forecast, offer.job_id)
            await queries.advance_forecast(connection, forecast, moves_for(Event.ACCEPTED), now)

        await self._database.run(write)

    async def freeze(self, forecast: Forecast) -> bool:
        """Freeze the manifest if the forecast is ready; return whether it was frozen.

        The polling round is that of the due moment, because a delay of ours must not change who
        committed first.

        Raises
        ------
        MinerFault
            If the freeze window was over at the due moment, or the manifest is invalid.
        MissedByUs
            If the validator was away for too long to freeze this manifest.
        """
        self._window.require_open(forecast, self._clock.now())
        miner, job_id = self._neuron(forecast), MinerJobId(forecast.job_id or "")
        if not await self._miners.forecast_ready(miner, job_id):
            return False
        access = await self._miners.open_store(miner, job_id)
        signed = await self._miners.fetch_manifest(miner, access)
        try:
            frozen = verify_manifest(
                signed.content,
                signed.signature,
                access.manifest_sha256,
                forecast.hotkey,
                miner.hotkey,
            )
        except MinerFault as error:
            _security.info("manifest_refused", reason=str(error))
            raise
        now = self._clock.now()

        async def write(connection: Connection) -> None:
            await queries.record_manifest(
                connection,
                forecast,
                signed.content,
                signed.signature,
                frozen.sha256,
                signed_by=None if frozen.signed_by == forecast.hotkey else frozen.signed_by,
                now=now,
                asked_at=forecast.next_at,
            )
            await queries.advance_forecast(connection, forecast, moves_for(Event.MANIFEST_FROZEN), now)

        await self._database.run(write)
        log.info("manifest_frozen", sha256=frozen.sha256, files=len(frozen.files))
        return True

    def scoring(self, run: Run, lead: Lead, rules: RuleSet, references: Mapping[str, FieldFiles]) -> Scoring:
        """Return what scores one lead of the run's forecasts under `rules`."""
        kind = lead.kind
        roles = {role: paths_of(files) for role, files in references.items()}
        given = LeadUnit(
            grid=self._settings.grid_degrees,
            steps=self._settings.forecast_steps,
            step_hours=self._settings.forecast_step_hours,
            lead_hours=lead.hours,
            fields=list(roles["truth"]),
            measures=rules.measures,
            **roles,
        )
        own = "" if rules.name == self._book.rules.name else f"/{rules.name}"
        name = f"{kind}/{lead.hours}{own}"

        async def run_batch(
            forecasts: Mapping[Hotkey, Spooled],
        ) -> Mapping[Hotkey, Done[LeadScored] | GaiaError]:
            members = hashlib.sha256(" ".join(sorted(forecasts)).encode()).hexdigest()[:16]
            job_id = JobId(f"{run.run_id}/batch-{members}/{name}")
            done = await self._units.run_unit(score_batch(kind, given, forecasts), job_id)
            cpu_s = done.cpu_s / len(forecasts)
            return {
                hotkey: _outcome(done.answer[hotkey], cpu_s, job_id)
                for hotkey in forecasts
                if hotkey in done.answer
            }

        async def run_one(hotkey: Hotkey, spooled: Spooled) -> Done[LeadScored]:
            job_id = JobId(f"{run.run_id}/{hotkey}/{name}")
            return await self._units.run_unit(score_one(kind, given, spooled), job_id)

        return Scoring(
            rules=rules,
            fields=given.fields,
            batches=LeadBatches(self._limits.batch_miners, run_batch, run_one),
            inputs=self._kept.describe(SCORES_ONE[kind].handler, given, references),
            sketches=None
            if own
            else sketch_folder(self._spool.parent, rules, RunId(run.run_id), kind, lead.hours),
        )

    async def score(
        self,
        forecast: Forecast,
        lead: Lead,
        active: Scoring,
        shadow: Scoring | None,
        now: datetime,
    ) -> None:
        """Fetch one lead's chunks, verify and score them, and record the outcome.

        The shadow rules score the lead, too; their failure does not change the outcome.
        """
        metadata, chunks = self._metadata(active.fields), self._chunks(lead.hours, active.fields)
        digests = await self._promises.of(forecast, [*metadata, *chunks])
        store = self._spool / forecast.run_id / forecast.hotkey
        spooled = Spooled(store_dir=str(store), digests=dict(digests))
        with border(Party.DISK, f"looking into the spool of {forecast.hotkey}"):
            left_over = any((store / path).exists() for path in digests)
        if not left_over:
            self._kept.require_room()
        try:
            await self._fetch(forecast, store, metadata, chunks, digests)
            wanted = msgspec.structs.replace(spooled, sketch=active.sketch_of(forecast.hotkey))
            scored = await active.batches.score(forecast.hotkey, wanted)
        except MinerFault as error:
            if not left_over:
                _security.info(
                    "verification_failed", kind=lead.kind, lead_hours=lead.hours, reason=str(error)
                )
                await self._diagnose(forecast, lead, spooled, active.fields, error)
                self._kept.drop(store, chunks)
                raise
            # Files from an earlier attempt may have been damaged in our spool: blame needs evidence.
            log.info("spooled_chunks_discarded", error=str(error))
            self._kept.drop(store, digests)
            await self.score(forecast, lead, active, shadow, now)
            return
        # The active rules come last: after an end of ours in between, the lead is scored again by both.
        if shadow is not None:
            await self.trial.score(forecast, lead, shadow, spooled, now)
        await self._book.record(forecast, lead, scored, active.inputs, now)
        self._kept.release(store, chunks)

    async def sketch(self, forecast: Forecast, lead_hours: int, active: Scoring) -> None:
        """Make the sketch of a scored lead anew from the miner's chunks, or raise what stops it; the score stays."""
        metadata, chunks = self._metadata(active.fields), self._chunks(lead_hours, active.fields)
        digests = await self._promises.of(forecast, [*metadata, *chunks])
        store = self._spool / forecast.run_id / forecast.hotkey
        await self._fetch(forecast, store, metadata, chunks, digests)
        wanted = Spooled(
            store_dir=str(store), digests=dict(digests), sketch=active.sketch_of(forecast.hotkey)
        )
        await active.batches.score(forecast.hotkey, wanted)
        self._kept.release(store, chunks)

    def drop(self, forecast: Forecast, lead: Lead, fields: Sequence[str]) -> None:
        """Delete the chunks of a lead that will not be scored."""
        store = self._spool / forecast.run_id / forecast.hotkey
        self._kept.drop(store, self._chunks(lead.hours, fields))

    def _chunks(self, lead_hours: int, fields: Sequence[str]) -> list[str]:
        steps = self._settings.forecast_step_hours
        return [chunk_path(field, lead_hours, steps) for field in fields]

    @staticmethod
    def _metadata(fields: Sequence[str]) -> list[str]:
        return sorted({metadata_path(field) for field in fields})

    async def _fetch(
        self,
        forecast: Forecast,
        store: Path,
        metadata: list[str],
        chunks: list[str],
        digests: Mapping[str, str],
    ) -> None:
        """Download the lead's files to the spool; stop early if the metadata break the contract."""
        miner = self._neuron(forecast)
        access = await self._miners.open_store(miner, MinerJobId(forecast.job_id or ""))
        if access.manifest_sha256 != forecast.manifest_sha256:
            raise InvalidManifest("the manifest was changed after it was frozen")
        if not all((store / path).exists() for path in metadata):
            self.received.add(forecast.run_id, await self._miners.fetch_files(miner, access, metadata, store))
            unit = VerifyForecast(
                grid=self._settings.grid_degrees,
                steps=self._settings.forecast_steps,
                step_hours=self._settings.forecast_step_hours,
                store_dir=str(store),
                digests={path: digests[path] for path in metadata},
            )
            await self._units.run_unit(unit, JobId(f"{_name(forecast)}/metadata"))
        self.received.add(forecast.run_id, await self._miners.fetch_files(miner, access, chunks, store))

    async def _diagnose(
        self, forecast: Forecast, lead: Lead, spooled: Spooled, fields: Sequence[str], error: MinerFault
    ) -> None:
        unit = DescribeForecast(
            grid=self._settings.grid_degrees,
            steps=self._settings.forecast_steps,
            step_hours=self._settings.forecast_step_hours,
            store_dir=spooled.store_dir,
            digests=spooled.digests,
            lead_hours=lead.hours,
            fields=list(fields),
        )
        await diagnose(self._units, unit, JobId(f"{_name(forecast)}/diagnosis"), error)

    def _require_registration(self) -> None:
        """Raise `OwnFailure` if our hotkey is not registered: a refusal would then be no fault of the miner."""
        metagraph = self._metagraph.latest()
        if metagraph is not None and metagraph.own_uid is None:
            raise OwnFailure("our hotkey is not registered, so no miner is asked")

    def _neuron(self, forecast: Forecast) -> Neuron:
        """Return the forecast's miner, whose hotkey may have been swapped since the run opened.

        Raises
        ------
        OwnFailure
            While one reading of the chain alone tells of the swap.
        """
        metagraph = self._metagraph.latest()
        if metagraph is not None:
            registration = Registration(forecast.hotkey, forecast.uid, forecast.registered_at)
            neuron = metagraph.holder(registration)
            if neuron is not None:
                if neuron.hotkey != forecast.hotkey and not self._swaps.are_told(registration, metagraph):
                    raise OwnFailure(
                        f"the hotkey was swapped for {neuron.hotkey}; a second reading must agree"
                    )
                return neuron
            if any(neuron.hotkey == forecast.hotkey for neuron in metagraph.neurons):
                raise RegisteredAnew("the hotkey was registered anew after the run opened")
        raise MinerUnreachable("the hotkey is not in the metagraph")


def _outcome(member: BatchMember, cpu_s: float, job_id: JobId) -> Done[LeadScored] | GaiaError:
    """Return one forecast's part of a batch's answer, as if it had been scored alone."""
    if member.failure is not None:
        return rebuild(member.failure.error_type, member.failure.message)
    scored = LeadScored(components=member.components, field_digests=member.field_digests)
    return Done(scored, cpu_s, job_id)


def _name(forecast: Forecast) -> str:
    return f"{forecast.run_id}/{forecast.hotkey}"
