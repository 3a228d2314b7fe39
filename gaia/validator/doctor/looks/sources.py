"""Looks at the data sources by one small request to each."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gaia.tasks.defined_tasks.weather.references.keys import ReferenceSource
from gaia.tasks.defined_tasks.weather.sources.climatology import needed_chunks
from gaia.tasks.defined_tasks.weather.sources.gfs import PUBLISHED_AFTER, parse_index, select
from gaia.tasks.defined_tasks.weather.sources.gfs_layouts import GFS_LAYOUTS
from gaia.tasks.defined_tasks.weather.sources.refusals import Reason
from gaia.tasks.defined_tasks.weather.sources.transfer import Answer, Transfer
from gaia.validator.core.clock import SimulatedClock
from gaia.validator.doctor.facts import Source
from gaia.validator.utils.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gaia.validator.utils.settings.contract import ContractSettings
    from gaia.validator.utils.settings.pool import PoolSettings
    from gaia.validator.utils.settings.schedule import ScheduleSettings
    from gaia.validator.utils.settings.sources import SourcesSettings

_LONGEST_S = 5.0
_CYCLE = timedelta(hours=6)
_LATE = timedelta(hours=3)
_INDEX_BYTES = 1 << 20
_METADATA_BYTES = 16 << 20
_JOBS = "/retrieve/v1/jobs?limit=1"
_LEAD_HOURS = 12


def look_at_gfs(sources: SourcesSettings, contract: ContractSettings, schedule: ScheduleSettings) -> Source:
    """Return whether the bucket has the index of a cycle that it must have by now, with the day-1 fields."""

    async def ask(transfer: Transfer) -> Source:
        cycle = _published_cycle(schedule)
        refusal = ""
        for layout in GFS_LAYOUTS:
            path = layout.path_of(contract.grid_degrees, cycle, _LEAD_HOURS)
            if path is None:
                continue
            url = f"{sources.gfs_url.rstrip('/')}/{path}.idx"
            found, answer = await _ask(transfer, url, _INDEX_BYTES)
            if answer is None:
                return found
            if answer.status == 200:
                entries = parse_index(answer.content.decode(errors="replace"))
                select(entries, cycle, _LEAD_HOURS, contract.day1_fields)
                return found
            refusal = refusal or found.problem
        return Source(url=sources.gfs_url, problem=refusal)

    return _asked("the GFS archive", ReferenceSource.GFS, sources.gfs_url, ask)


def look_at_cds(sources: SourcesSettings) -> Source:
    """Return whether the Climate Data Store accepts our key; no job is submitted."""
    key = sources.cds_key.get_secret_value().strip()

    async def ask(transfer: Transfer) -> Source:
        found, answer = await _ask(
            transfer, sources.cds_url.rstrip("/") + _JOBS, _INDEX_BYTES, {"PRIVATE-TOKEN": key}
        )
        if answer is None or answer.status == 200:
            return found
        refused = transfer.refusal(answer, answer.url)
        is_key = answer.status == 401 or refused.reason is Reason.KEY
        return Source(
            url=found.url,
            problem=found.problem,
            is_key_refused=is_key,
            seconds=found.seconds,
            date=found.date,
            asked_at=found.asked_at,
        )

    return _asked("the Climate Data Store", ReferenceSource.ERA5, sources.cds_url, ask)


def look_at_climatology(sources: SourcesSettings, contract: ContractSettings) -> Source:
    """Return whether the store describes every scored field."""

    async def ask(transfer: Transfer) -> Source:
        url = sources.climatology_url.rstrip("/") + "/.zmetadata"
        found, answer = await _ask(transfer, url, _METADATA_BYTES)
        if answer is not None and answer.status == 200:
            fields = [*contract.day1_fields, *contract.final_fields]
            needed_chunks(answer.content, datetime.now(UTC), fields)
        return found

    return _asked("the climatology", ReferenceSource.CLIMATOLOGY, sources.climatology_url, ask)


def look_at_scheduler(pool: PoolSettings) -> str:
    """Return why the Dask scheduler does not answer; "" if it does, or none is used."""
    if pool.compute_backend != "dask":
        return ""
    address = urlsplit(pool.dask_scheduler)

    async def dial() -> str:
        try:
            async with asyncio.timeout(_LONGEST_S):
                _, writer = await asyncio.open_connection(address.hostname, address.port or 8786)
        except TimeoutError:
            return f"{pool.dask_scheduler} does not answer"
        except (OSError, ValueError) as error:
            return f"{pool.dask_scheduler} cannot be reached ({getattr(error, 'strerror', None) or error})"
        writer.close()
        return ""

    return asyncio.run(dial())


def _published_cycle(schedule: ScheduleSettings) -> datetime:
    """Return the newest cycle that is published for certain."""
    now = SimulatedClock(schedule.clock_file).now() if schedule.clock_file else datetime.now(UTC)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (now - PUBLISHED_AFTER - _LATE - epoch) // _CYCLE * _CYCLE


def _asked(
    name: str, source: ReferenceSource, url: str, ask: Callable[[Transfer], Awaitable[Source]]
) -> Source:
    async def whole() -> Source:
        transfer = Transfer(name, _LONGEST_S, source)
        try:
            return await ask(transfer)
        except TransientError as error:
            return Source(url=url, problem=str(error))
        finally:
            await transfer.aclose()

    return asyncio.run(whole())


async def _ask(
    transfer: Transfer, url: str, limit_bytes: int, headers: Mapping[str, str] | None = None
) -> tuple[Source, Answer | None]:
    """Return what one GET found, and its answer; None if there is none."""
    began = time.monotonic()
    try:
        answer = await transfer.request(
            "GET", url, limit_bytes=limit_bytes, headers=headers, is_secret=headers is not None
        )
    except TransientError as error:
        return Source(url=url, problem=str(error)), None
    asked_at = datetime.now(UTC)
    problem = "" if answer.status == 200 else str(transfer.refusal(answer, url))
    found = Source(
        url=url,
        problem=problem,
        seconds=time.monotonic() - began,
        date=_date_of(answer.headers.get("date", "")),
        asked_at=asked_at,
    )
    return found, answer


def _date_of(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return date.replace(tzinfo=date.tzinfo or UTC)
