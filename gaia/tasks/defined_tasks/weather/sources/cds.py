"""Takes ERA5 fields from the Climate Data Store: submit a request, wait in its queue, download GRIB."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from gaia.tasks.defined_tasks.base import Clock
from gaia.tasks.defined_tasks.weather.sources.transfer import (
    Answer,
    SingleFlight,
    Transfer,
    all_of,
    whole_file,
)
from gaia.tasks.defined_tasks.weather.variables import VARIABLES, split_field
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import ConfigurationError, NotYetAvailable, TransientError

SINGLE_LEVELS: Final = "reanalysis-era5-single-levels"
PRESSURE_LEVELS: Final = "reanalysis-era5-pressure-levels"

T = TypeVar("T")

_FIRST_POLL_S = 0.1
_LONGEST_POLL_S = 30.0
_POLL_GROWTH = 1.5
_JSON_LIMIT_BYTES = 1 << 20
_ASSET_LIMIT_BYTES = 2 << 30
_TOO_EARLY = "available yet"
"""Part of the store's "None of the data you have requested is available yet"."""


class _StatusInfo(msgspec.Struct, frozen=True):
    """OGC API Processes: where a job stands."""

    job_id: str = msgspec.field(name="jobID")
    status: str


class _File(msgspec.Struct, frozen=True):
    href: str
    size_bytes: int = msgspec.field(name="file:size")
    md5: str = msgspec.field(name="file:checksum", default="")


class _Asset(msgspec.Struct, frozen=True):
    value: _File


class _Results(msgspec.Struct, frozen=True):
    asset: _Asset


@dataclass(frozen=True, slots=True)
class _Request:
    dataset: str
    inputs: Mapping[str, Any]

    @property
    def key(self) -> str:
        return json.dumps([self.dataset, dict(self.inputs)], sort_keys=True)


class CdsEra5Archive:
    """`Era5Archive` that asks `settings.cds_url`.

    Requests may wait for hours in the store's queue. `fetch` waits no longer
    than `settings.source_timeout_s`, then raises `NotYetAvailable`; the job is
    remembered and the next `fetch` takes up where this one stopped.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._url = f"{settings.cds_url.rstrip('/')}/retrieve/v1"
        self._key = settings.cds_key.get_secret_value()
        self._grid = settings.grid_degrees
        self._patience_s = settings.source_timeout_s
        self._delay = timedelta(days=settings.era5_delay_days, hours=settings.era5_buffer_hours)
        self._poll = timedelta(minutes=settings.era5_poll_minutes)
        self._retry = timedelta(minutes=settings.source_retry_minutes)
        self._clock = clock
        self._transfer = Transfer("the Climate Data Store", settings.source_timeout_s)
        self._flights = SingleFlight()
        self._jobs: dict[str, str] = {}
        """Request -> id of the job that was submitted for it."""

    async def fetch(self, valid_time: datetime, fields: Sequence[str], destination: Path) -> None:
        """Write the GRIB messages of `fields` to `destination`; see `Era5Archive`.

        Raises
        ------
        ConfigurationError
            If there is no key, or the store refuses it.
        """
        if not self._key:
            raise ConfigurationError(
                "GAIA_CDS_KEY", "no key of the Climate Data Store is set", "copy yours from its user profile"
            )

        async def transfer() -> None:
            await self._fetch(valid_time, fields, destination)

        await self._flights.run(valid_time.isoformat(), (frozenset(fields), destination), transfer)

    async def aclose(self) -> None:
        """Give up transfers under way and close all connections."""
        await self._flights.stop()
        await self._transfer.aclose()

    async def _fetch(self, valid_time: datetime, fields: Sequence[str], destination: Path) -> None:
        parts = [
            (request, destination.with_name(f"{destination.name}.{request.dataset}"))
            for request in requests_for(valid_time, fields, self._grid)
        ]
        try:
            await all_of(self._fetch_part(request, valid_time, part) for request, part in parts)
            with whole_file(destination) as file:
                for _, part in parts:
                    file.write(part.read_bytes())
        finally:
            for _, part in parts:
                part.unlink(missing_ok=True)

    async def _fetch_part(self, request: _Request, valid_time: datetime, part: Path) -> None:
        job_id = self._jobs.get(request.key) or await self._submit(request, valid_time)
        self._jobs[request.key] = job_id
        await self._wait(request, job_id, valid_time)
        self._jobs.pop(request.key, None)
        answer = await self._ask("GET", f"/jobs/{job_id}/results", valid_time)
        file = _decoded(answer, _Results).asset.value
        if not 0 < file.size_bytes <= _ASSET_LIMIT_BYTES:
            raise TransientError(f"the Climate Data Store offers a file of {file.size_bytes} bytes")
        await self._transfer.download(file.href, part, file.size_bytes)
        if file.md5 and file.md5 != _md5(part):
            raise TransientError(f"the file of job {job_id} differs from its checksum")

    async def _submit(self, request: _Request, valid_time: datetime) -> str:
        answer = await self._ask(
            "POST", f"/processes/{request.dataset}/execution", valid_time, json={"inputs": request.inputs}
        )
        return _decoded(answer, _StatusInfo).job_id

    async def _wait(self, request: _Request, job_id: str, valid_time: datetime) -> None:
        """Return once the job has succeeded; raise where it failed or takes too long for now."""
        give_up_at = time.monotonic() + self._patience_s
        pause_s = _FIRST_POLL_S
        while True:
            answer = await self._ask("GET", f"/jobs/{job_id}", valid_time, forget=request)
            status = _decoded(answer, _StatusInfo).status
            if status == "successful":
                return
            if status not in ("accepted", "running"):
                self._jobs.pop(request.key, None)
                # A failed job's results are an answer of 400 that says why.
                await self._ask("GET", f"/jobs/{job_id}/results", valid_time)
                raise TransientError(f"job {job_id} of the Climate Data Store is {status}")
            if time.monotonic() + pause_s > give_up_at:
                raise NotYetAvailable(
                    f"job {job_id} of the Climate Data Store is still {status}",
                    self._clock.now() + self._retry,
                )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * _POLL_GROWTH, _LONGEST_POLL_S)

    async def _ask(
        self,
        method: str,
        path: str,
        valid_time: datetime,
        *,
        json: Any = None,
        forget: _Request | None = None,
    ) -> Answer:
        """Return a 2xx answer, or raise what another one means; `forget` a request whose job is gone."""
        answer = await self._transfer.request(
            method,
            self._url + path,
            limit_bytes=_JSON_LIMIT_BYTES,
            headers={"PRIVATE-TOKEN": self._key},
            json=json,
        )
        if 200 <= answer.status < 300:
            return answer
        text = answer.content.decode(errors="replace")
        if answer.status in (401, 403):
            raise ConfigurationError(
                "GAIA_CDS_KEY",
                f"the Climate Data Store refuses it ({answer.status}: {text[:200]})",
                "check the key and accept the licences of both ERA5 data sets on the store's web site",
            )
        if _TOO_EARLY in text:
            published = valid_time + self._delay
            raise NotYetAvailable(
                f"ERA5 of {valid_time:%Y-%m-%dT%HZ} is not published",
                max(published, self._clock.now() + self._poll),
            )
        if forget is not None:
            self._jobs.pop(forget.key, None)
        raise TransientError(f"the Climate Data Store answered {answer.status} to {path}: {text[:500]}")


def requests_for(valid_time: datetime, fields: Sequence[str], grid: str) -> list[_Request]:
    """Return the requests that together hold `fields`: one for the surface, one for pressure levels."""
    moment = valid_time.astimezone(UTC)
    split = [split_field(field) for field in fields]
    common = {
        "product_type": ["reanalysis"],
        "year": [f"{moment:%Y}"],
        "month": [f"{moment:%m}"],
        "day": [f"{moment:%d}"],
        "time": [f"{moment:%H:%M}"],
        "grid": [float(grid), float(grid)],
        "data_format": "grib",
        "download_format": "unarchived",
    }
    requests = []
    if surface := sorted({VARIABLES[name].cds_name for name, level in split if level is None}):
        requests.append(_Request(SINGLE_LEVELS, common | {"variable": surface}))
    if upper := sorted({VARIABLES[name].cds_name for name, level in split if level is not None}):
        levels = [str(level) for level in sorted({level for _, level in split if level is not None})]
        requests.append(_Request(PRESSURE_LEVELS, common | {"variable": upper, "pressure_level": levels}))
    return requests


def _decoded(answer: Answer, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise TransientError(f"the Climate Data Store sent what cannot be read: {error}") from error


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
