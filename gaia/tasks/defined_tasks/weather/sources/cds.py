"""Downloads ERA5 fields from the Climate Data Store: submit a request, wait in its queue, fetch GRIB."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import structlog

from gaia.tasks.defined_tasks.weather.references.keys import ReferenceSource
from gaia.tasks.defined_tasks.weather.sources.cds_jobs import Job, JobFile, Request
from gaia.tasks.defined_tasks.weather.sources.refusals import Overdue, Reason, SourceRefusal, words_of
from gaia.tasks.defined_tasks.weather.sources.transfer import (
    Answer,
    SingleFlight,
    Transfer,
    all_of,
    every_one,
)
from gaia.tasks.defined_tasks.weather.variables import VARIABLES, split_field
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import NotYetAvailable, TransientError
from gaia.validator.utils.files import whole_file

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import Clock
    from gaia.validator.utils.idle_connections import Connections
    from gaia.validator.utils.settings.sources import SourcesSettings

log = structlog.get_logger(__name__)

SINGLE_LEVELS: Final = "reanalysis-era5-single-levels"
PRESSURE_LEVELS: Final = "reanalysis-era5-pressure-levels"

T = TypeVar("T")

_LOOK_FOR_S = 5.0
"""Seconds for which a job is polled; then others get their turn, and it is polled again later."""
_FIRST_POLL_S = 0.1
_POLL_GROWTH = 1.5
_SHORTEST_PAUSE = timedelta(seconds=20)
_PAUSE_SHARE = 4
"""A queued job is polled again after this fraction of the time it has been queued."""
_OVERDUE_AFTER = timedelta(days=2)
_JSON_LIMIT_BYTES = 1 << 20
_ASSET_LIMIT_BYTES = 2 << 30
_TOO_EARLY = "available yet"
"""Part of the store's "None of the data you have requested is available yet"."""
_JOB_ID = re.compile(r"[\w-]{1,100}", re.ASCII)
"""Form of a job id; ids become part of an address, so none may lead elsewhere."""
_OLD_KEY = re.compile(r"\d+:[\w-]+", re.ASCII)

_REMEDIES: Mapping[Reason, str] = {
    Reason.KEY: "set GAIA_CDS_KEY to the key shown on the store's profile page",
    Reason.LICENCE: "accept the licences of both ERA5 data sets on the store's web site",
    Reason.COST: "score fewer fields (GAIA_FINAL_FIELDS), or ask the store's help desk",
    Reason.MOVED: "set GAIA_CDS_URL to the new address",
    Reason.BLOCKED: "check on the store's web site whether it blocks your account or address",
}
_SHARED_BY_ALL = frozenset({Reason.DAILY, Reason.KEY})
_SHARED_WAIT = timedelta(minutes=15)
"""Time without requests after a refusal that applies to all requests."""


class _StatusInfo(msgspec.Struct, frozen=True):
    """Status of a job (OGC API Processes)."""

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


class CdsEra5Archive:
    """`Era5Archive` on the store at `cds_url`.

    Requests may wait for hours in the store's queue. `fetch` polls a job for a few seconds, then
    raises `NotYetAvailable`. Jobs are recorded beside the destination, so that the next `fetch`
    continues with them.
    """

    def __init__(self, settings: SourcesSettings, grid: str, clock: Clock) -> None:
        self._url = f"{settings.cds_url.rstrip('/')}/retrieve/v1"
        self._key = settings.cds_key.get_secret_value().strip()
        self._grid = grid
        self._patience_s = min(settings.source_timeout_s, _LOOK_FOR_S)
        self._delay = timedelta(days=settings.era5_delay_days, hours=settings.era5_buffer_hours)
        self._poll = timedelta(minutes=settings.era5_poll_minutes)
        self._retry = timedelta(minutes=settings.source_retry_minutes)
        self._clock = clock
        self._transfer = Transfer("the Climate Data Store", settings.source_timeout_s, ReferenceSource.ERA5)
        self._flights = SingleFlight()
        self._closed: tuple[datetime, SourceRefusal] | None = None
        """End of the time without requests, and the refusal that started it."""
        if problem := self._problem_of_key():
            log.error("cds_key_unusable", problem=problem, remedy=_REMEDIES[Reason.KEY])

    async def fetch(self, valid_time: datetime, fields: Sequence[str], destination: Path) -> None:
        """Write the GRIB messages of `fields` to `destination`; see `Era5Archive`.

        Raises
        ------
        SourceRefusal
            If there is no key, or the store refuses to serve us.
        """
        if not self._key:
            raise SourceRefusal(f"{self._problem_of_key()}; {_REMEDIES[Reason.KEY]}", Reason.KEY)
        self._require_open()

        async def transfer() -> None:
            await self._fetch(valid_time, fields, destination)

        with border(Party.ARCHIVE, f"ERA5 of {valid_time:%Y-%m-%dT%HZ}"):
            await self._flights.run(valid_time.isoformat(), (frozenset(fields), destination), transfer)

    async def close_idle(self) -> Connections:
        """Close the connections that no request uses."""
        return await self._transfer.close_idle()

    async def aclose(self) -> None:
        """Cancel open transfers and close all connections."""
        await self._flights.stop()
        await self._transfer.aclose()

    async def _fetch(self, valid_time: datetime, fields: Sequence[str], destination: Path) -> None:
        jobs = JobFile(destination.with_name(f"{destination.name}.jobs.json"))
        requests = requests_for(valid_time, fields, self._grid)
        # All are submitted before any is awaited, and the failure of one does not cancel the other.
        await every_one(self._finish(request, valid_time, jobs) for request in requests)
        parts = [destination.with_name(f"{destination.name}.{request.dataset}") for request in requests]
        try:
            await all_of(
                self._collect(request, valid_time, jobs, part)
                for request, part in zip(requests, parts, strict=True)
            )
            with whole_file(destination) as file:
                for part in parts:
                    file.write(part.read_bytes())
        finally:
            for part in parts:
                part.unlink(missing_ok=True)
        jobs.clear()

    async def _finish(self, request: Request, valid_time: datetime, jobs: JobFile) -> None:
        """Wait until the job of `request` has succeeded; raise if it fails or takes too long."""
        job = jobs.find(request, self._clock.now()) or await self._submit(request, valid_time, jobs)
        give_up_at = time.monotonic() + self._patience_s
        pause_s = _FIRST_POLL_S
        while True:
            answer = await self._ask("GET", f"/jobs/{job.job_id}")
            if answer.status in (404, 410):
                jobs.forget(request)
            status = _decoded(self._served(answer, valid_time), _StatusInfo).status
            if status == "successful":
                return
            if status not in ("accepted", "running"):
                jobs.forget(request)
                # The results of a failed job are an answer of 400 with the reason.
                self._served(await self._ask("GET", f"/jobs/{job.job_id}/results"), valid_time)
                raise TransientError(f"job {job.job_id} of the Climate Data Store is {status[:50]}")
            if time.monotonic() + pause_s > give_up_at:
                now = self._clock.now()
                again = min(max((now - job.submitted_at) / _PAUSE_SHARE, _SHORTEST_PAUSE), self._retry)
                raise NotYetAvailable(
                    f"job {job.job_id} of the Climate Data Store is still {status},"
                    f" submitted at {job.submitted_at:%Y-%m-%dT%H:%MZ}",
                    now + again,
                )
            await asyncio.sleep(pause_s)
            pause_s *= _POLL_GROWTH

    async def _submit(self, request: Request, valid_time: datetime, jobs: JobFile) -> Job:
        path = f"/processes/{request.dataset}/execution"
        answer = await self._ask("POST", path, json={"inputs": request.inputs})
        job_id = _decoded(self._served(answer, valid_time), _StatusInfo).job_id
        if not _JOB_ID.fullmatch(job_id):
            raise TransientError(f"the Climate Data Store calls a job {job_id[:100]!r}")
        job = Job(job_id=job_id, submitted_at=self._clock.now())
        jobs.remember(request, job)
        return job

    async def _collect(self, request: Request, valid_time: datetime, jobs: JobFile, part: Path) -> None:
        """Download the result of a job; if it is unusable, forget the job, so that it is submitted again."""
        job = jobs.find(request, self._clock.now())
        if job is None:
            raise TransientError("the job of the Climate Data Store is too old")
        answer = await self._ask("GET", f"/jobs/{job.job_id}/results")
        try:
            file = _decoded(self._served(answer, valid_time), _Results).asset.value
            await self._download(job, file, part)
        except SourceRefusal as error:
            if error.reason is Reason.OTHER:
                jobs.forget(request)
            raise
        except TransientError:
            jobs.forget(request)
            raise

    async def _download(self, job: Job, file: _File, part: Path) -> None:
        if not 0 < file.size_bytes <= _ASSET_LIMIT_BYTES:
            raise TransientError(f"the Climate Data Store offers a file of {file.size_bytes} bytes")
        await self._transfer.download(file.href, part, file.size_bytes)
        if file.md5 and file.md5 != await asyncio.to_thread(_md5, part):
            raise TransientError(f"the file of job {job.job_id} differs from its checksum")

    async def _ask(self, method: str, path: str, *, json: Any = None) -> Answer:
        return await self._transfer.request(
            method,
            self._url + path,
            limit_bytes=_JSON_LIMIT_BYTES,
            headers={"PRIVATE-TOKEN": self._key},
            json=json,
            is_secret=True,
        )

    def _served(self, answer: Answer, valid_time: datetime) -> Answer:
        """Return a 2xx answer; raise the error that another answer means."""
        if 200 <= answer.status < 300:
            return answer
        if _TOO_EARLY in answer.content.decode(errors="replace"):
            now, published = self._clock.now(), valid_time + self._delay
            kind = Overdue if now > published + _OVERDUE_AFTER else NotYetAvailable
            raise kind(
                f"ERA5 of {valid_time:%Y-%m-%dT%HZ} is not published", max(published, now + self._poll)
            )
        refusal = self._transfer.refusal(answer, answer.url)
        remedy = _REMEDIES.get(refusal.reason, "")
        if refusal.reason is Reason.KEY and (problem := self._problem_of_key()):
            remedy = f"{problem}; {remedy}"
        refusal = SourceRefusal(
            f"{refusal}; {remedy}" if remedy else f"{refusal}", refusal.reason, refusal.wait
        )
        if refusal.wait is not None or refusal.reason in _SHARED_BY_ALL:
            self._closed = (self._clock.now() + (refusal.wait or _SHARED_WAIT), refusal)
        raise refusal

    def _require_open(self) -> None:
        """Raise the last refusal that applies to all requests, while its time lasts."""
        if self._closed is None:
            return
        until, refusal = self._closed
        if (wait := until - self._clock.now()) > timedelta():
            raise SourceRefusal(str(refusal), refusal.reason, wait)
        self._closed = None

    def _problem_of_key(self) -> str:
        """Return an obvious fault of the key; "" if only the store can tell."""
        if not self._key:
            return "no key of the Climate Data Store is set, so ERA5 cannot be downloaded"
        if _OLD_KEY.fullmatch(self._key):
            return "GAIA_CDS_KEY has the form UID:KEY of the store that was closed in 2024"
        return ""


def requests_for(valid_time: datetime, fields: Sequence[str], grid: str) -> list[Request]:
    """Return the requests for `fields`: one for the surface, one for pressure levels."""
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
        requests.append(Request(SINGLE_LEVELS, common | {"variable": surface}))
    if upper := sorted({VARIABLES[name].cds_name for name, level in split if level is not None}):
        levels = [str(level) for level in sorted({level for _, level in split if level is not None})]
        requests.append(Request(PRESSURE_LEVELS, common | {"variable": upper, "pressure_level": levels}))
    return requests


def _decoded(answer: Answer, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        said = words_of(answer.content)
        raise TransientError(f"the Climate Data Store sent an unreadable answer: {error}: {said}") from error


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
