"""What the source clients decide before and after they speak to a source."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from gaia.tasks.defined_tasks.weather.references.keys import ReferenceSource
from gaia.tasks.defined_tasks.weather.sources.climatology import needed_chunks
from gaia.tasks.defined_tasks.weather.sources.gfs import (
    NoaaGfsArchive,
    merge,
    parse_index,
    require_whole_messages,
    select,
)
from gaia.tasks.defined_tasks.weather.sources.refusals import Overdue
from gaia.tasks.defined_tasks.weather.sources.transfer import RECEIVED_BYTES, SingleFlight, all_of
from gaia.validator.core.clock import RealClock
from gaia.validator.utils.errors import NotYetAvailable, OwnFailure, TransientError
from gaia.validator.utils.settings.sources import SourcesSettings
from tests.support.fakes import FakeClock
from tests.support.transfers import a_transfer

INIT_TIME = datetime(2026, 3, 25, tzinfo=UTC)
INDEX = """\
1:0:d=2026032500:PRMSL:mean sea level:12 hour fcst:
2:1000:d=2026032500:TMP:2 m above ground:12 hour fcst:
3.1:2000:d=2026032500:UGRD:10 m above ground:12 hour fcst:
3.2:2000:d=2026032500:VGRD:10 m above ground:12 hour fcst:
4:3000:d=2026032500:HGT:500 mb:12 hour fcst:
5:4000:d=2026032500:TMP:500 mb:6-12 hour ave fcst:
"""


def a_message(length: int) -> bytes:
    return b"GRIB\0\0\0\x02" + length.to_bytes(8, "big") + bytes(length - 20) + b"7777"


def test_index_gives_each_message_its_bytes() -> None:
    entries = parse_index(INDEX)

    assert [(entry.start, entry.end) for entry in entries] == [
        (0, 1000),
        (1000, 2000),
        (2000, 3000),
        (2000, 3000),
        (3000, 4000),
        (4000, None),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "<html>", "1:zero:d=2026032500:TMP:2 m above ground:anl:", "1:2:3", f"1:{'9' * 5000}:a:b:c:d"],
)
def test_index_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(TransientError, match="index"):
        parse_index(text)


def test_fields_are_found_by_name_level_time_and_cycle() -> None:
    chosen = select(parse_index(INDEX), INIT_TIME, 12, ["z500", "2t", "10v"])

    assert [entry.start for entry in chosen] == [1000, 2000, 3000]


@pytest.mark.parametrize(("lead_hours", "fields"), [(12, ["t850"]), (6, ["2t"]), (0, ["2t"]), (12, ["t500"])])
def test_field_that_is_not_listed_is_refused(lead_hours: int, fields: list[str]) -> None:
    with pytest.raises(TransientError, match="0 times"):
        select(parse_index(INDEX), INIT_TIME, lead_hours, fields)


def test_index_of_another_cycle_is_refused() -> None:
    with pytest.raises(TransientError, match="0 times"):
        select(parse_index(INDEX), datetime(2026, 3, 25, 6, tzinfo=UTC), 12, ["2t"])


def test_neighbours_cost_one_request() -> None:
    spans = [(2000, 3000), (1000, 2000), (2000, 3000), (5000, None)]

    assert merge(spans) == [(1000, 3000), (5000, None)]


def test_whole_messages_pass() -> None:
    require_whole_messages(a_message(50) + a_message(80), "url")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        a_message(50)[:-1],
        a_message(50)[1:],
        a_message(50) + b"GRIB",
        a_message(50)[:7] + b"\x01" + a_message(50)[8:],
        b"GRIB\0\0\0\x02" + bytes(8) + b"7777",
    ],
)
def test_messages_that_are_cut_or_shifted_are_refused(content: bytes) -> None:
    with pytest.raises(TransientError, match="does not fit"):
        require_whole_messages(content, "url")


async def test_answer_that_ignores_the_range_is_refused(tmp_path: Path) -> None:
    archive = NoaaGfsArchive(SourcesSettings(), "1.0", RealClock())
    archive._transfer = a_transfer(lambda request: httpx.Response(200, text=INDEX))

    with pytest.raises(TransientError, match="answered 200"):
        await archive.fetch(INIT_TIME, 12, ["2t"], tmp_path / "gfs.grib")
    await archive.aclose()


def a_zmetadata(**arrays: tuple[list[str], list[int], list[int]]) -> bytes:
    metadata: dict[str, dict[str, list[Any]]] = {}
    for name, (dimensions, shape, chunks) in arrays.items():
        metadata[f"{name}/.zarray"] = {"shape": shape, "chunks": chunks}
        metadata[f"{name}/.zattrs"] = {"_ARRAY_DIMENSIONS": dimensions}
    return json.dumps({"zarr_consolidated_format": 1, "metadata": metadata}).encode()


def test_only_the_chunk_of_hour_day_and_level_is_mirrored() -> None:
    metadata = a_zmetadata(
        temperature=(["hour", "dayofyear", "level", "latitude"], [4, 366, 13, 721], [1, 1, 1, 400]),
        hour=(["hour"], [4], [4]),
        dayofyear=(["dayofyear"], [366], [100]),
        level=(["level"], [13], [13]),
        latitude=(["latitude"], [721], [721]),
    )

    paths = needed_chunks(metadata, datetime(2026, 2, 1, 20, tzinfo=UTC), ["t850"])

    assert paths == {
        "temperature/3.31.10.0",
        "temperature/3.31.10.1",
        "hour/0",
        "dayofyear/0",
        "dayofyear/1",
        "dayofyear/2",
        "dayofyear/3",
        "level/0",
        "latitude/0",
    }


@pytest.mark.parametrize(
    "metadata",
    [
        b"no json",
        b"{}",
        a_zmetadata(),
        a_zmetadata(temperature=(["hour"], [4, 366], [1, 1])),
        a_zmetadata(temperature=(["../../hour"], [4], [1])),
    ],
)
def test_climatology_metadata_that_make_no_sense_are_refused(metadata: bytes) -> None:
    with pytest.raises(TransientError, match="climatology"):
        needed_chunks(metadata, INIT_TIME, ["t850"])


async def test_answer_larger_than_expected_is_cut_off() -> None:
    transfer = a_transfer(lambda request: httpx.Response(200, content=b"x" * 100))

    with pytest.raises(TransientError, match="more than 99 bytes"):
        await transfer.request("GET", "http://source/", limit_bytes=99)


async def test_bytes_of_a_source_are_counted_of_use_or_not(tmp_path: Path) -> None:
    before = dict(RECEIVED_BYTES.items())

    await a_transfer(lambda request: httpx.Response(200, content=b"x" * 100)).download(
        "http://source/", tmp_path / "file", 100
    )
    await a_transfer(lambda request: httpx.Response(404, content=b"not there")).request(
        "GET", "http://source/", limit_bytes=1
    )

    assert dict(RECEIVED_BYTES.items()) == {**before, ReferenceSource.GFS: before[ReferenceSource.GFS] + 109}


async def test_source_that_dawdles_is_given_up_for_now() -> None:
    async def dawdle(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(TransientError, match=r"0\.01 s") as caught:
        await a_transfer(dawdle, 0.01).request("GET", "http://source/", limit_bytes=1)

    assert not isinstance(caught.value, OwnFailure)


@pytest.mark.parametrize("raised", [httpx.ReadTimeout("quiet"), httpx.ConnectError("refused")])
async def test_library_errors_become_the_sources(raised: Exception) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise raised

    with pytest.raises(TransientError) as caught:
        await a_transfer(fail).request("GET", "http://source/", limit_bytes=1)

    assert not isinstance(caught.value, OwnFailure)


async def test_download_of_a_missing_file_is_refused(tmp_path: Path) -> None:
    transfer = a_transfer(lambda request: httpx.Response(404))

    with pytest.raises(TransientError, match="404"):
        await transfer.download("http://source/x", tmp_path / "x", 10)


async def test_different_requests_of_one_key_wait_for_each_other() -> None:
    flights, order = SingleFlight(), []

    async def transfer(name: str) -> None:
        order.append(f"{name} begins")
        await asyncio.sleep(0)
        order.append(f"{name} ends")

    await asyncio.gather(*(flights.run("key", name, partial(transfer, name)) for name in "aab"))

    assert order == ["a begins", "a ends", "b begins", "b ends"]


async def test_caller_that_leaves_does_not_stop_the_transfer_of_the_others() -> None:
    flights, gate = SingleFlight(), asyncio.Event()
    runs = 0

    async def transfer() -> None:
        nonlocal runs
        runs += 1
        await gate.wait()

    leaving, staying = (asyncio.create_task(flights.run("key", 1, transfer)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    gate.set()
    await staying

    assert runs == 1
    assert leaving.cancelled()


async def test_stopped_flights_end() -> None:
    flights = SingleFlight()

    async def never() -> None:
        await asyncio.Event().wait()

    waiting = asyncio.create_task(flights.run("key", 1, never))
    await asyncio.sleep(0)

    await flights.stop()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_first_error_of_several_transfers_is_raised_as_it_is() -> None:
    async def fail() -> None:
        raise TransientError("one of them")

    with pytest.raises(TransientError, match="one of them"):
        await all_of([fail(), asyncio.sleep(60)])


def layouts_server(present: set[str], seen: list[str]) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        if request.url.path.removesuffix(".idx") not in present:
            return httpx.Response(404)
        if request.url.path.endswith(".idx"):
            return httpx.Response(200, text="1:0:d=2026032500:TMP:2 m above ground:12 hour fcst:")
        return httpx.Response(206, content=a_message(50))

    return answer


V16_FILE = "/gfs.20260325/00/atmos/gfs.t00z.pgrb2.0p25.f012"
V17_FILE = "/gfs.20260325/00/products/atmos/grib2/0p25/gfs.t00z.pres_a.0p25.f012.grib2"


async def test_gfs_is_found_under_either_releases_names_and_the_right_ones_are_remembered(
    tmp_path: Path,
) -> None:
    seen: list[str] = []
    archive = NoaaGfsArchive(SourcesSettings(), "0.25", RealClock())
    archive._transfer = a_transfer(layouts_server({V17_FILE}, seen))

    await archive.fetch(INIT_TIME, 12, ["2t"], tmp_path / "first")
    await archive.fetch(INIT_TIME, 12, ["2t"], tmp_path / "second")

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes() == a_message(50)
    found = [f"{V17_FILE}.idx", V17_FILE]
    assert seen == [f"{V16_FILE}.idx", *found, *found]


async def test_gfs_that_does_not_come_names_every_address_and_is_overdue_after_hours(tmp_path: Path) -> None:
    clock = FakeClock(INIT_TIME)
    archive = NoaaGfsArchive(SourcesSettings(), "0.25", clock)
    archive._transfer = a_transfer(layouts_server(set(), []))
    kinds, waits = [], []

    for hours in (1, 5, 8, 16, 40):
        await clock.idle_until(INIT_TIME + timedelta(hours=hours))
        with pytest.raises(NotYetAvailable) as caught:
            await archive.fetch(INIT_TIME, 12, ["2t"], tmp_path / "gfs")
        assert f"{V16_FILE}.idx" in str(caught.value)
        assert f"{V17_FILE}.idx" in str(caught.value)
        kinds.append(type(caught.value))
        waits.append((caught.value.retry_at - clock.now()) / timedelta(hours=1))

    assert kinds == [NotYetAvailable, NotYetAvailable, Overdue, Overdue, Overdue]
    assert waits == [3.0, 0.25, 0.5, 1.5, 3.0]
