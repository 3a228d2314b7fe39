"""Fetches and prepares reference sets, each once."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import structlog

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.references.files import FIELDS, FieldFiles, ReferenceFiles, paths_of
from gaia.tasks.defined_tasks.weather.references.keys import ReferenceKey, ReferenceSource
from gaia.tasks.defined_tasks.weather.references.waits import level_of, subject_of, wait_after
from gaia.tasks.defined_tasks.weather.sources.refusals import SourceRefusal
from gaia.tasks.defined_tasks.weather.unit_client import UnitClient
from gaia.tasks.defined_tasks.weather.units import DecodeGfs, DecodeVerification, StoredFields
from gaia.validator.db import queries
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import GaiaError, NotYetAvailable, OwnFailure, TransientError
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.ipc_types import Priority

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import Archives, UnitRunner
    from gaia.validator.db.connection import Database
    from gaia.validator.db.queries import ReferenceSet
    from gaia.validator.utils.settings.contract import ContractSettings
    from gaia.validator.utils.settings.files import FilesSettings
    from gaia.validator.utils.settings.pool import PoolSettings
    from gaia.validator.utils.settings.sources import SourcesSettings

log = structlog.get_logger(__name__)

_SHORTEST_PAUSE = timedelta(seconds=15)
_SHARE_OF_LOOKING = 4
_LONGEST_LOOKING = timedelta(days=1)
"""A set is given up only after attempts of this process over a quarter of its time limit, or a day."""


class ReferenceShelf:
    """Prepares reference sets and records them in the database.

    Failures of a source are not raised; they are recorded, logged and retried later. Only
    failures of the database are raised.
    """

    def __init__(
        self,
        contract: ContractSettings,
        sources: SourcesSettings,
        files: FilesSettings,
        limits: PoolSettings,
        *,
        database: Database,
        archives: Archives,
        pool: UnitRunner,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._contract = contract
        self._sources = sources
        self._limits = limits
        self._database = database
        self._archives = archives
        self._units = UnitClient(pool, limits.unit_timeout_s, wall_clock)
        data_dir = files.data_dir.resolve()
        self._directory = data_dir / FIELDS
        self.files = ReferenceFiles(data_dir)
        """Places of recorded files in this data folder, and their checks."""
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._ours: dict[str, datetime] = {}
        """Set -> when it is tried again, if the last attempt failed by a fault of ours.

        In memory only: a process that starts tries at once, so it never takes our fault for the source's.
        """
        self._vain_since: dict[tuple[str, bool], datetime] = {}
        """Set, and whether the fault was ours -> first attempt of this process that failed so."""
        self._reported: dict[str, str] = {}
        """Source or set -> its last reported problem, so that each problem is logged loudly only once."""
        self.next_look: datetime | None = None
        """The earliest moment at which a missing set may be requested again."""

    async def take(self, key: ReferenceKey, now: datetime) -> FieldFiles | None:
        """Return the files of a set, prepared if necessary; None while it is unavailable or given up.

        A set that is damaged, or that another data folder holds, is fetched again. It has the recorded
        values, unless the source has revised them: then the new ones are recorded. `LeadReferences` keeps
        a lead from being compared with both.

        Raises
        ------
        OwnFailure
            If the database fails.
        """
        turn = self._turns.setdefault(key.reference_id, asyncio.Lock())
        async with turn:
            return await self._take(key, now)

    async def is_given_up(self, key: ReferenceKey) -> bool:
        """Return whether a set is given up, because it was missing for too long.

        Only `take` gives a set up: `day1_give_up_hours` or `final_give_up_days` after its valid time,
        and never at the first failure of a process. The decision is final. Faults of ours are waited
        out for `final_give_up_days`, whatever the set.
        """
        known = await self._read(key)
        return known is not None and known.given_up_at is not None

    def failed_by_us(self, key: ReferenceKey) -> bool:
        """Return whether a set is missing by a fault of ours, as far as this process has tried."""
        return key.reference_id in self._ours

    def look_again(self, moment: datetime) -> None:
        """Note that something missing may be there at `moment`."""
        self.next_look = min(self.next_look or moment, moment)

    async def _take(self, key: ReferenceKey, now: datetime) -> FieldFiles | None:
        known = await self._read(key)
        held = self.files.placed(known.fields) if known else {}
        try:
            damage = await self._damage(key, held)
        except OwnFailure as error:
            await self._postpone(key, known, now, error)
            return None
        if known and not damage:
            if not known.ready:
                await self._record(key, held)
            return held
        if known and known.ready:
            known = await self._withdraw(key, known, held, damage)
        if known and known.given_up_at is not None:
            return None
        retry_at = self._ours.get(key.reference_id) or (known.retry_at if known else None)
        if retry_at is not None and retry_at > now:
            self.look_again(retry_at)
            return None
        try:
            fields = await self._fetch(key, held)
        except GaiaError as error:
            await self._postpone(key, known, now, error)
            return None
        await self._record(key, fields)
        self._forget_failures(key)
        return fields

    async def _damage(self, key: ReferenceKey, held: FieldFiles) -> list[str]:
        """Return the faults of the files `held`; an empty list if they are usable."""
        lacking = [f"{name} is not held" for name in key.fields if name not in held]
        return lacking + await asyncio.to_thread(self.files.damage, held)

    async def _fetch(self, key: ReferenceKey, held: FieldFiles) -> FieldFiles:
        """Return a set fetched again; a field that is `held` stays in its place, if its source still has its values."""
        with border(Party.ARCHIVE, f"preparing {key.reference_id}"):
            fresh: FieldFiles = (await self._prepare(key)).fields
        revised = {name for name in held.keys() & fresh.keys() if held[name].sha256 != fresh[name].sha256}
        if revised:
            log.warning("reference_revised", reference=key.reference_id, fields=sorted(revised))
        same = {name: entry for name, entry in held.items() if name not in revised}
        return await asyncio.to_thread(self.files.mend, same, fresh)

    async def _read(self, key: ReferenceKey) -> ReferenceSet | None:
        async with self._database.reading() as connection:
            return await queries.read_reference(connection, key.reference_id)

    async def _record(self, key: ReferenceKey, fields: FieldFiles) -> None:
        digest = digest_of(fields)
        async with self._database.transaction() as connection:
            await queries.record_reference(connection, key.reference_id, digest, self.files.recorded(fields))
        self._reported.pop(key.source, None)
        self._reported.pop(key.reference_id, None)
        versions = sorted({entry.expver for entry in fields.values() if entry.expver})
        log.info("reference_prepared", reference=key.reference_id, digest=digest, expver=",".join(versions))

    async def _withdraw(
        self, key: ReferenceKey, known: ReferenceSet, held: FieldFiles, damage: Sequence[str]
    ) -> ReferenceSet:
        """Mark a set as missing that is damaged here or was never here, so that it is fetched again."""
        if self.files.are_elsewhere(held):
            problem = f"another data folder holds {key.reference_id}: it is fetched anew"
            log.info("reference_elsewhere", reference=key.reference_id)
        else:
            problem = f"{', '.join(damage)}: {key.reference_id} is fetched anew"
            log.error("reference_damaged", reference=key.reference_id, problem=problem)
        async with self._database.transaction() as connection:
            await queries.withdraw_reference(connection, key.reference_id, problem)
        return replace(known, ready=False, retry_at=None)

    async def _prepare(self, key: ReferenceKey) -> StoredFields:
        directory = self._directory / key.reference_id
        raw = self._directory.parent / "raw" / key.reference_id
        try:
            directory.mkdir(parents=True, exist_ok=True)
            raw.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OwnFailure(f"{directory} cannot be made: {error.strerror or error}") from error
        at_hand = {} if key.source is ReferenceSource.CLIMATOLOGY else await self._climatology_at_hand(key)
        await self._download(key, raw)
        grid, fields, out_dir = self._contract.grid_degrees, list(key.fields), str(directory)
        if key.source is ReferenceSource.GFS:
            gfs = DecodeGfs(
                grid=grid,
                fields=fields,
                out_dir=out_dir,
                climatology=at_hand,
                source_path=str(raw),
                init_time=_iso(key.init_time),
                lead_hours=key.lead_hours,
            )
            return await self._decode(key, gfs)
        is_era5 = key.source is ReferenceSource.ERA5
        verification = DecodeVerification(
            grid=grid,
            fields=fields,
            out_dir=out_dir,
            climatology=at_hand,
            kind="era5" if is_era5 else "climatology",
            valid_time=_iso(key.valid_time),
            source_path=str(raw) if is_era5 else "",
            store_dir="" if is_era5 else str(raw),
        )
        return await self._decode(key, verification)

    async def _download(self, key: ReferenceKey, raw: Path) -> None:
        """Download the source files of `key`."""
        match key.source:
            case ReferenceSource.GFS:
                await self._archives.gfs.fetch(key.init_time, key.lead_hours, key.fields, raw)
            case ReferenceSource.ERA5:
                await self._archives.era5.fetch(key.valid_time, key.fields, raw)
            case ReferenceSource.CLIMATOLOGY:
                await self._archives.climatology.fetch(key.valid_time, key.fields, raw)

    async def _climatology_at_hand(self, key: ReferenceKey) -> dict[str, str]:
        """Return field -> climatology for the valid time of `key`, as far as it is prepared."""
        climatology = replace(key, source=ReferenceSource.CLIMATOLOGY)
        known = await self._read(climatology)
        if known is None or not known.ready:
            return {}
        held = self.files.placed(known.fields)
        if await asyncio.to_thread(self.files.damage, held):
            return {}
        return {name: path for name, path in paths_of(held).items() if name in key.fields}

    async def _decode(self, key: ReferenceKey, unit: DecodeGfs | DecodeVerification) -> StoredFields:
        job_id = JobId(f"reference/{key.reference_id}")
        try:
            done = await self._units.run_unit(unit, job_id, priority=Priority.AHEAD)
        except OwnFailure:
            raise  # the download itself is not at fault
        except TransientError:
            self._discard(unit)
            raise
        except GaiaError as error:
            # Our own source cannot be a miner's fault, whatever type the reader raised.
            self._discard(unit)
            raise TransientError(str(error)) from error
        else:
            return done.answer

    @staticmethod
    def _discard(unit: DecodeGfs | DecodeVerification) -> None:
        """Delete a damaged download, so that the next attempt fetches it again."""
        if unit.source_path:
            Path(unit.source_path).unlink(missing_ok=True)

    async def _postpone(
        self, key: ReferenceKey, known: ReferenceSet | None, now: datetime, error: GaiaError
    ) -> None:
        attempts = known.attempts if known else 0
        if isinstance(error, NotYetAvailable):
            retry_at = max(error.retry_at, now + _SHORTEST_PAUSE)
        else:
            attempts += 1
            usual = timedelta(minutes=self._sources.source_retry_minutes)
            retry_at = now + wait_after(error, attempts, usual)
        is_ours = isinstance(error, OwnFailure)
        self._ours.pop(key.reference_id, None)
        if is_ours:
            self._ours[key.reference_id] = retry_at
        missed_since = (known.missed_since if known else None) or now
        given_up_at = now if self._is_hopeless(key, now, is_ours=is_ours) else None
        if given_up_at is None:
            self.look_again(retry_at)
        else:
            self._forget_failures(key)
        self._say(key, error, retry_at, is_given_up=given_up_at is not None)
        async with self._database.transaction() as connection:
            await queries.postpone_reference(
                connection,
                key.reference_id,
                attempts=attempts,
                retry_at=now if is_ours else retry_at,
                error=str(error),
                missed_since=missed_since,
                given_up_at=given_up_at,
            )

    def _is_hopeless(self, key: ReferenceKey, now: datetime, *, is_ours: bool) -> bool:
        """Return whether a set has been missing for too long, also since the first failure that this process saw.

        After an outage of ours, a busy source thus still gets some time.
        """
        limit = timedelta(days=self._contract.final_give_up_days)
        if key.kind is LeadKind.DAY1 and key.source is ReferenceSource.GFS and not is_ours:
            limit = timedelta(hours=self._contract.day1_give_up_hours)
        since = self._vain_since.setdefault((key.reference_id, is_ours), now)
        looked = min(limit / _SHARE_OF_LOOKING, _LONGEST_LOOKING)
        return now >= key.valid_time + limit and now - since >= looked

    def _forget_failures(self, key: ReferenceKey) -> None:
        """Forget what this process knows of a set that is prepared or given up."""
        self._ours.pop(key.reference_id, None)
        for is_ours in (False, True):
            self._vain_since.pop((key.reference_id, is_ours), None)

    def _say(self, key: ReferenceKey, error: GaiaError, retry_at: datetime, *, is_given_up: bool) -> None:
        """Log why a set is missing: loudly if the reason is new, else quietly."""
        if is_given_up:
            log.warning("reference_given_up", reference=key.reference_id, error=str(error))
            return
        # A refusal that applies to all requests of a source is logged loudly once.
        about = key.source if isinstance(error, SourceRefusal) else key.reference_id
        is_news = self._reported.get(about) != subject_of(error)
        self._reported[about] = subject_of(error)
        log.log(
            level_of(error) if is_news else logging.DEBUG,
            "reference_missing",
            reference=key.reference_id,
            error=str(error),
            retry_at=retry_at.isoformat(),
        )


def digest_of(fields: FieldFiles) -> str:
    """Return the digest of a set: SHA-256 of "name:sha256" lines, sorted by name."""
    lines = "".join(f"{name}:{fields[name].sha256}\n" for name in sorted(fields))
    return hashlib.sha256(lines.encode()).hexdigest()


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
