"""Downloads single fields of GFS from NOAA's bucket, by index and byte ranges."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from gaia.tasks.defined_tasks.weather.references.keys import ReferenceSource
from gaia.tasks.defined_tasks.weather.sources.gfs_layouts import GFS_LAYOUTS, GfsLayout
from gaia.tasks.defined_tasks.weather.sources.refusals import Overdue, SourceRefusal
from gaia.tasks.defined_tasks.weather.sources.transfer import SingleFlight, Transfer, all_of
from gaia.tasks.defined_tasks.weather.variables import VARIABLES, split_field
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import NotYetAvailable, TransientError
from gaia.validator.utils.files import whole_file

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import Clock
    from gaia.validator.utils.idle_connections import Connections
    from gaia.validator.utils.settings.sources import SourcesSettings

log = structlog.get_logger(__name__)

PUBLISHED_AFTER: Final = timedelta(hours=4)
"""Usual delay of a cycle; NOAA's wiki lists f000 of 00Z at 03:46Z, and later leads within the hour."""

OVERDUE_AFTER: Final = timedelta(hours=3)
"""Delay beyond the usual time after which a missing file causes a warning."""

_NOT_THERE = frozenset({404, 403, 410})
"""Answers for a missing address; a bucket without public listing answers 403."""
_LOOKS_SHARE = 8
_RAREST_LOOK = timedelta(hours=3)
_INDEX_LIMIT_BYTES = 1 << 20
_RANGE_LIMIT_BYTES = 256 << 20
_REQUESTS_AT_ONCE = 4
_HEADER_BYTES = 16
_END_MARK = b"7777"
_OFFSET = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One message of a GRIB file, from a line of its index."""

    start: int
    end: int | None
    """First byte after the message; None: the end of the file."""
    cycle: str
    """Initial time, as YYYYMMDDHH."""
    name: str
    """Such as "TMP:2 m above ground"."""
    time: str
    """"anl", or such as "12 hour fcst"."""


class NoaaGfsArchive:
    """`GfsArchive` on the bucket at `gfs_url`, in the first of `layouts` that has the files."""

    def __init__(
        self, settings: SourcesSettings, grid: str, clock: Clock, layouts: Sequence[GfsLayout] = GFS_LAYOUTS
    ) -> None:
        self._base = settings.gfs_url.rstrip("/")
        self._grid = grid
        self._retry = timedelta(minutes=settings.source_retry_minutes)
        self._clock = clock
        self._layouts = list(layouts)
        """Layouts in the order of trial; the last successful one comes first."""
        self._transfer = Transfer("the GFS archive", settings.source_timeout_s, ReferenceSource.GFS)
        self._flights = SingleFlight()
        self._places = asyncio.Semaphore(_REQUESTS_AT_ONCE)

    async def fetch(
        self, init_time: datetime, lead_hours: int, fields: Sequence[str], destination: Path
    ) -> None:
        """Write the GRIB2 messages of `fields` to `destination`, in the order of the file; see `GfsArchive`.

        Raises
        ------
        Overdue
            If the file is not there hours after its usual time.
        """

        async def transfer() -> None:
            await self._fetch(init_time, lead_hours, fields, destination)

        key = f"{init_time.isoformat()}+{lead_hours}"
        with border(Party.ARCHIVE, f"GFS of {key}"):
            await self._flights.run(key, (frozenset(fields), destination), transfer)

    async def close_idle(self) -> Connections:
        """Close the connections that no request uses."""
        return await self._transfer.close_idle()

    async def aclose(self) -> None:
        """Cancel open transfers and close all connections."""
        await self._flights.stop()
        await self._transfer.aclose()

    async def _fetch(
        self, init_time: datetime, lead_hours: int, fields: Sequence[str], destination: Path
    ) -> None:
        url, index = await self._find(init_time, lead_hours)
        entries = select(parse_index(index.decode(errors="replace")), init_time, lead_hours, fields)
        ranges = merge((entry.start, entry.end) for entry in entries)
        parts = await all_of(self._part(url, init_time, span) for span in ranges)
        with whole_file(destination) as file:
            for part in parts:
                file.write(part)

    async def _find(self, init_time: datetime, lead_hours: int) -> tuple[str, bytes]:
        """Return the address of a file and the text of its index, from the first layout that has them."""
        refusal: SourceRefusal | None = None
        tried: list[str] = []
        for layout in tuple(self._layouts):
            if (path := layout.path_of(self._grid, init_time, lead_hours)) is None:
                continue
            url = f"{self._base}/{path}"
            tried.append(f"{url}.idx")
            answer = await self._transfer.request("GET", f"{url}.idx", limit_bytes=_INDEX_LIMIT_BYTES)
            if answer.status == 200:
                self._prefer(layout)
                return url, answer.content
            if answer.status not in _NOT_THERE:
                raise self._transfer.refusal(answer, f"{url}.idx")
            if answer.status != 404:
                refusal = refusal or self._transfer.refusal(answer, f"{url}.idx")
        raise refusal or self._not_published(init_time, tried)

    def _prefer(self, layout: GfsLayout) -> None:
        if self._layouts[0] is not layout:
            log.warning("gfs_layout_changed", release=layout.release, path=layout.path)
            self._layouts.remove(layout)
            self._layouts.insert(0, layout)

    def _not_published(self, init_time: datetime, urls: Sequence[str]) -> NotYetAvailable:
        """Return the error for missing `urls`; the later it is, the longer the wait until the next try."""
        now, published = self._clock.now(), init_time + PUBLISHED_AFTER
        late = now - published
        again = max(published, now + max(self._retry, min(late / _LOOKS_SHARE, _RAREST_LOOK)))
        where = f"GFS of {init_time:%Y-%m-%dT%HZ} is not published: {' nor '.join(urls)}"
        if late > OVERDUE_AFTER:
            hours = OVERDUE_AFTER.total_seconds() / 3600
            return Overdue(f"{where}; more than {hours:g} h after its usual time", again)
        return NotYetAvailable(where, again)

    async def _part(self, url: str, init_time: datetime, span: tuple[int, int | None]) -> bytes:
        start, end = span
        limit = _RANGE_LIMIT_BYTES if end is None else end - start
        headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        async with self._places:
            answer = await self._transfer.request("GET", url, limit_bytes=limit, headers=headers)
        if answer.status == 404:
            raise self._not_published(init_time, [url])
        if answer.status == 200:
            raise TransientError(f"the GFS archive answered 200 to {url}: the whole file, not a part of it")
        if answer.status != 206:
            raise self._transfer.refusal(answer, url)
        if end is not None and len(answer.content) != limit:
            raise TransientError(f"the GFS archive sent {len(answer.content)} of {limit} bytes of {url}")
        require_whole_messages(answer.content, url)
        return answer.content


def parse_index(text: str) -> list[IndexEntry]:
    """Return the messages of an index, in the order of the file.

    Fields that share a message, numbered as "5.1" and "5.2", share its bytes.

    Raises
    ------
    TransientError
        If the text is not an index.

    Examples
    --------
    >>> parse_index("1:0:d=2026032500:PRMSL:mean sea level:12 hour fcst:")
    [IndexEntry(start=0, end=None, cycle='2026032500', name='PRMSL:mean sea level', time='12 hour fcst')]
    """
    rows = [line.split(":") for line in text.splitlines() if line.strip()]
    if not rows or any(len(row) < 6 or not _OFFSET.fullmatch(row[1]) for row in rows):
        raise TransientError("the GFS archive sent an index that cannot be read")
    starts = sorted({int(row[1]) for row in rows})
    ends = dict(zip(starts, [*starts[1:], None], strict=True))
    return [
        IndexEntry(int(row[1]), ends[int(row[1])], row[2].removeprefix("d="), f"{row[3]}:{row[4]}", row[5])
        for row in rows
    ]


def select(
    entries: Iterable[IndexEntry], init_time: datetime, lead_hours: int, fields: Sequence[str]
) -> list[IndexEntry]:
    """Return the entries of `fields`, in the order of the file.

    Raises
    ------
    TransientError
        If a field is not listed exactly once.
    """
    cycle = f"{init_time.astimezone(UTC):%Y%m%d%H}"
    time = f"{lead_hours} hour fcst" if lead_hours else "anl"
    chosen: list[IndexEntry] = []
    listed = list(entries)
    for field in fields:
        variable, level = split_field(field)
        name = VARIABLES[variable].gfs_idx_name.format(level=level)
        matches = [entry for entry in listed if (entry.cycle, entry.name, entry.time) == (cycle, name, time)]
        if len(matches) != 1:
            raise TransientError(f"the GFS index of {cycle}+{lead_hours} lists {field} {len(matches)} times")
        chosen += matches
    return sorted(chosen, key=lambda entry: entry.start)


def merge(spans: Iterable[tuple[int, int | None]]) -> list[tuple[int, int | None]]:
    """Return the spans with adjacent or equal ones joined, so that neighbours need one request.

    Examples
    --------
    >>> merge([(0, 10), (10, 20), (30, None)])
    [(0, 20), (30, None)]
    """
    merged: list[tuple[int, int | None]] = []
    for start, end in sorted(spans, key=lambda span: span[0]):
        if not merged or (merged[-1][1] is not None and merged[-1][1] < start):
            merged.append((start, end))
        elif merged[-1] != (start, end):
            merged[-1] = (merged[-1][0], end)
    return merged


def require_whole_messages(content: bytes, url: str) -> None:
    """Raise `TransientError` unless `content` is a sequence of one or more complete GRIB2 messages."""
    start = 0
    while start < len(content) or not content:
        header = content[start : start + _HEADER_BYTES]
        length = int.from_bytes(header[8:16], "big")
        end = start + length
        is_whole = (
            header[:4] == b"GRIB"
            and header[7:8] == b"\x02"
            and length > _HEADER_BYTES
            and content[end - 4 : end] == _END_MARK
        )
        if not is_whole:
            raise TransientError(
                f"the GFS archive's index does not fit its file, or the file is truncated: {url}"
            )
        start = end
