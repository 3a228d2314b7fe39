"""Fetches and prepares the fields forecasts are compared with, each set once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from gaia.tasks.defined_tasks.base import Archives, ComputePool
from gaia.validator.db import queries
from gaia.validator.db.connection import Database
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import GaiaError, NotYetAvailable, TransientError
from gaia.validator.utils.ipc_types import WorkUnit

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceKey:
    """One source at one time: a GFS field set, an ERA5 field set or a climatology."""

    source: str
    """"gfs", "era5" or "climatology"."""
    init_time: datetime
    lead_hours: int
    fields: tuple[str, ...]
    kind: str
    """"day1" or "final": which set of fields is meant."""

    @property
    def valid_time(self) -> datetime:
        return self.init_time + timedelta(hours=self.lead_hours)

    @property
    def reference_id(self) -> str:
        if self.source == "gfs":
            return f"gfs/{self.init_time:%Y-%m-%dT%HZ}+{self.lead_hours}/{self.kind}"
        return f"{self.source}/{self.valid_time:%Y-%m-%dT%HZ}/{self.kind}"


FieldFiles = Mapping[str, Mapping[str, str]]
"""Field name to {"path", "sha256"}."""


class ReferenceShelf:
    """Prepares reference sets and remembers them in the database."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        archives: Archives,
        pool: ComputePool,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._database = database
        self._archives = archives
        self._pool = pool
        self._wall_clock = wall_clock
        self._directory = settings.data_dir.resolve() / "fields"
        self.next_look: datetime | None = None
        """The earliest time at which a set that was not to be had may be asked for again."""

    async def take(self, key: ReferenceKey, now: datetime) -> FieldFiles | None:
        """Return the files of a set, prepared if need be; None while the source lacks it."""
        async with self._database.transaction() as connection:
            known = await queries.read_reference(connection, key.reference_id)
        if known is not None and known.ready and _present(known.fields):
            return known.fields
        if known is not None and known.retry_at is not None and known.retry_at > now:
            self._note(known.retry_at)
            return None
        attempts = known.attempts if known else 0
        try:
            value = await self._prepare(key)
        except NotYetAvailable as error:
            poll = timedelta(minutes=self._settings.era5_poll_minutes)
            await self._postpone(key, attempts, max(error.retry_at, now + poll), error)
            return None
        except TransientError as error:
            retry = timedelta(minutes=self._settings.source_retry_minutes)
            await self._postpone(key, attempts + 1, now + retry, error)
            return None
        if known is not None and known.ready:
            _require_unchanged(key, known.fields, value["fields"])
        async with self._database.transaction() as connection:
            await queries.record_reference(connection, key.reference_id, value["digest"], value["fields"])
        log.info("reference_prepared", reference=key.reference_id, digest=value["digest"])
        fields: FieldFiles = value["fields"]
        return fields

    async def _prepare(self, key: ReferenceKey) -> dict[str, Any]:
        directory = self._directory / key.reference_id
        raw = self._directory.parent / "raw" / key.reference_id
        directory.mkdir(parents=True, exist_ok=True)
        raw.parent.mkdir(parents=True, exist_ok=True)
        payload: dict[str, Any] = {
            "grid": self._settings.grid_degrees,
            "fields": list(key.fields),
            "out_dir": str(directory),
        }
        if key.source == "gfs":
            await self._archives.gfs.fetch(key.init_time, key.lead_hours, key.fields, raw)
            payload |= {
                "source_path": str(raw),
                "init_time": _iso(key.init_time),
                "lead_hours": key.lead_hours,
            }
            return await self._decode("weather.hash.gfs_compute", key, payload)
        payload |= {"kind": key.source, "valid_time": _iso(key.valid_time)}
        if key.source == "era5":
            await self._archives.era5.fetch(key.valid_time, key.fields, raw)
            payload["source_path"] = str(raw)
        else:
            await self._archives.climatology.fetch(key.valid_time, key.fields, raw)
            payload["store_dir"] = str(raw)
        return await self._decode("weather.hash.verification_compute", key, payload)

    async def _decode(self, handler: str, key: ReferenceKey, payload: dict[str, Any]) -> dict[str, Any]:
        result = await self._pool.dispatch_and_wait(
            WorkUnit(
                job_id=f"reference/{key.reference_id}",
                handler=handler,
                payload=payload,
                deadline_at=self._wall_clock() + self._settings.unit_timeout_s,
                priority=10,
                trace_id=key.reference_id,
            )
        )
        try:
            return result.unwrap()
        except TransientError:
            self._discard(payload)
            raise
        except GaiaError as error:
            # Our own source can't be a miner's fault, whatever the reader called it.
            self._discard(payload)
            raise TransientError(str(error)) from error

    def _discard(self, payload: Mapping[str, Any]) -> None:
        """Drop a damaged download, so that the next attempt fetches it anew."""
        if source := payload.get("source_path"):
            Path(source).unlink(missing_ok=True)

    async def _postpone(self, key: ReferenceKey, attempts: int, retry_at: datetime, error: GaiaError) -> None:
        self._note(retry_at)
        log.info(
            "reference_missing",
            reference=key.reference_id,
            error=str(error),
            retry_at=retry_at.isoformat(),
        )
        async with self._database.transaction() as connection:
            await queries.postpone_reference(connection, key.reference_id, attempts, retry_at, str(error))

    def _note(self, retry_at: datetime) -> None:
        self.next_look = min(self.next_look or retry_at, retry_at)


def paths_of(files: FieldFiles) -> dict[str, str]:
    return {field: entry["path"] for field, entry in files.items()}


def digests_of(files: FieldFiles) -> dict[str, str]:
    return {field: entry["sha256"] for field, entry in files.items()}


def lead_keys(
    kind: str, init_time: datetime, lead_hours: int, fields: Sequence[str], measures: str
) -> dict[str, ReferenceKey]:
    """What one lead is held against, by role.

    The truth is the GFS analysis on day 1 and ERA5 later. Plain measures know every
    public forecast at every lead: GFS, persistence of its analysis, and the climatology;
    those of gaia-2.9 know GFS on day 1 alone.
    """
    valid_time = init_time + timedelta(hours=lead_hours)

    def key(source: str, start: datetime, lead: int) -> ReferenceKey:
        return ReferenceKey(source=source, init_time=start, lead_hours=lead, fields=tuple(fields), kind=kind)

    truth = key("gfs", valid_time, 0) if kind == "day1" else key("era5", init_time, lead_hours)
    keys = {"truth": truth, "climatology": key("climatology", init_time, lead_hours)}
    if kind == "day1" or measures == "plain":
        keys["baseline"] = key("gfs", init_time, lead_hours)
    if measures == "plain":
        keys["persistence"] = key("gfs", init_time, 0)
    return keys


def _present(fields: FieldFiles) -> bool:
    return all(Path(entry["path"]).exists() for entry in fields.values())


def _require_unchanged(key: ReferenceKey, before: FieldFiles, after: FieldFiles) -> None:
    if digests_of(before) != digests_of(after):
        raise TransientError(f"{key.reference_id} was revised by its source after it was scored against")


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
