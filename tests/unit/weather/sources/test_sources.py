"""What the source clients decide before and after they speak to a source."""

from __future__ import annotations

import asyncio
import inspect
import json
import resource
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from gaia.tasks.defined_tasks.weather.sources.cds import CdsEra5Archive, requests_for
from gaia.tasks.defined_tasks.weather.sources.climatology import needed_chunks
from gaia.tasks.defined_tasks.weather.sources.gfs import (
    NoaaGfsArchive,
    merge,
    parse_index,
    require_whole_messages,
    select,
)
from gaia.tasks.defined_tasks.weather.sources.refusals import Overdue
from gaia.tasks.defined_tasks.weather.sources.transfer import SingleFlight, Transfer, all_of, whole_file
from gaia.validator.core.clock import RealClock
from gaia.validator.utils.errors import NotYetAvailable, OwnFailure, TransientError
from gaia.validator.utils.settings.sources import SourcesSettings
from tests.support.fakes import FakeClock

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


class Stream(httpx.AsyncByteStream):
    """A body that arrives in two parts."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content[:1]
        yield self.content[1:]


def a_transfer(handler, timeout_s: float = 60.0) -> Transfer:
    """A transfer whose requests `handler` answers, either at once or when awaited."""

    async def answer(request: httpx.Request) -> httpx.Response:
        response = handler(request)
        if inspect.isawaitable(response):
            response = await response
        return httpx.Response(response.status_code, stream=Stream(response.content))

    transfer = Transfer("the source", timeout_s)
    transfer._client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return transfer


def test_index_gives_each_message_its_bytes():
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
def test_index_that_is_none_is_refused(text):
    with pytest.raises(TransientError, match="index"):
        parse_index(text)


def test_fields_are_found_by_name_level_time_and_cycle():
    chosen = select(parse_index(INDEX), INIT_TIME, 12, ["z500", "2t", "10v"])

    assert [entry.start for entry in chosen] == [1000, 2000, 3000]


@pytest.mark.parametrize(("lead_hours", "fields"), [(12, ["t850"]), (6, ["2t"]), (0, ["2t"]), (12, ["t500"])])
def test_field_that_is_not_listed_is_refused(lead_hours, fields):
    with pytest.raises(TransientError, match="0 times"):
        select(parse_index(INDEX), INIT_TIME, lead_hours, fields)


def test_index_of_another_cycle_is_refused():
    with pytest.raises(TransientError, match="0 times"):
        select(parse_index(INDEX), datetime(2026, 3, 25, 6, tzinfo=UTC), 12, ["2t"])


def test_neighbours_cost_one_request():
    spans = [(2000, 3000), (1000, 2000), (2000, 3000), (5000, None)]

    assert merge(spans) == [(1000, 3000), (5000, None)]


def test_whole_messages_pass():
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
def test_messages_that_are_cut_or_shifted_are_refused(content):
    with pytest.raises(TransientError, match="does not fit"):
        require_whole_messages(content, "url")


async def test_answer_that_ignores_the_range_is_refused(tmp_path: Path):
    archive = NoaaGfsArchive(SourcesSettings(), "1.0", RealClock())
    archive._transfer = a_transfer(lambda request: httpx.Response(200, text=INDEX))

    with pytest.raises(TransientError, match="answered 200"):
        await archive.fetch(INIT_TIME, 12, ["2t"], tmp_path / "gfs.grib")
    await archive.aclose()


def test_one_request_to_the_cds_for_each_data_set():
    surface, upper = requests_for(INIT_TIME, ["msl", "z500", "2t", "t850"], "0.25")

    assert surface.dataset == "reanalysis-era5-single-levels"
    assert surface.inputs["variable"] == ["2m_temperature", "mean_sea_level_pressure"]
    assert (upper.inputs["variable"], upper.inputs["pressure_level"]) == (
        ["geopotential", "temperature"],
        ["500", "850"],
    )
    assert upper.inputs["time"] == ["00:00"]
    assert upper.inputs["grid"] == [0.25, 0.25]
    assert [request.dataset for request in requests_for(INIT_TIME, ["q850"], "1.0")] == [upper.dataset]


def a_cds(handler, **changed) -> CdsEra5Archive:
    settings = SourcesSettings.model_validate({"cds_key": "secret", "cds_url": "http://cds/api", **changed})
    archive = CdsEra5Archive(settings, "0.25", RealClock())
    archive._transfer = a_transfer(handler)
    return archive


class FakeCds:
    """Answers by path; `status` is what every job's state is."""

    def __init__(self, status: str = "successful", results: httpx.Response | None = None) -> None:
        self.status = status
        self.results = results
        self.content = b"GRIB of ERA5"
        self.offered = {"file:size": len(self.content), "file:checksum": ""}
        self.seen: list[httpx.Request] = []
        self.job_id = "j1"
        self.queued = "nothing"
        """Jobs of data sets in whose names this occurs are still queued."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if request.url.host == "store":
            return httpx.Response(200, content=self.content)
        if request.url.path.endswith("/results"):
            asset = {"value": {"href": "http://store/x.grib", **self.offered}}
            return self.results or httpx.Response(200, json={"asset": asset})
        if self.status == "gone" and request.method == "GET":
            return httpx.Response(404, text="job not found")
        job_id = self.job_id
        if request.method == "POST" and self.queued in request.url.path:
            job_id = "queued"
        is_queued = self.queued != "nothing" and request.url.path.endswith("/queued")
        status = "accepted" if is_queued else self.status
        return httpx.Response(201, json={"jobID": job_id, "status": status, "links": []})


async def test_key_goes_to_the_cds_but_not_to_the_file_store(tmp_path: Path):
    cds = FakeCds()

    await a_cds(cds).fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")

    assert (tmp_path / "era5.grib").read_bytes() == cds.content
    assert {request.url.host: request.headers.get("PRIVATE-TOKEN") for request in cds.seen} == {
        "cds": "secret",
        "store": None,
    }
    assert json.loads(cds.seen[0].content)["inputs"]["data_format"] == "grib"


async def test_request_refused_at_once_for_being_too_early_is_snoozed(tmp_path: Path):
    text = "None of the data you have requested is available yet, please revise the period requested."
    archive = a_cds(lambda request: httpx.Response(400, json={"detail": text}))

    with pytest.raises(NotYetAvailable):
        await archive.fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")


@pytest.mark.parametrize(
    ("status", "complaint"), [("failed", "failed for some reason"), ("dismissed", "dismissed")]
)
async def test_job_that_failed_is_submitted_anew(tmp_path: Path, status, complaint):
    cds = FakeCds(status)
    if status == "failed":
        cds.results = httpx.Response(400, json={"traceback": complaint})
    archive = a_cds(cds)

    with pytest.raises(TransientError, match=complaint):
        await archive.fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")
    cds.status, cds.results = "successful", None
    await archive.fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")

    assert [request.method for request in cds.seen].count("POST") == 2


async def test_job_that_is_gone_is_submitted_anew(tmp_path: Path):
    cds = FakeCds("gone")
    archive = a_cds(cds)

    with pytest.raises(TransientError, match="404"):
        await archive.fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")
    cds.status = "successful"
    await archive.fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")

    assert [request.method for request in cds.seen].count("POST") == 2


@pytest.mark.parametrize(
    ("offered", "complaint"),
    [
        ({"file:size": 5}, "more than 5 bytes"),
        ({"file:size": 500}, "12 of 500 bytes"),
        ({"file:size": 0}, "file of 0 bytes"),
        ({"file:checksum": "0" * 32}, "checksum"),
        ({"file:size": "much"}, "cannot be read"),
    ],
)
async def test_file_other_than_the_one_offered_is_refused(tmp_path: Path, offered, complaint):
    cds = FakeCds()
    cds.offered |= offered

    with pytest.raises(TransientError, match=complaint):
        await a_cds(cds).fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")
    assert list(tmp_path.iterdir()) == []
    cds.offered = {"file:size": len(cds.content)}
    await a_cds(cds).fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")
    assert [request.method for request in cds.seen].count("POST") == 2


def a_zmetadata(**arrays: tuple[list[str], list[int], list[int]]) -> bytes:
    metadata = {}
    for name, (dimensions, shape, chunks) in arrays.items():
        metadata[f"{name}/.zarray"] = {"shape": shape, "chunks": chunks}
        metadata[f"{name}/.zattrs"] = {"_ARRAY_DIMENSIONS": dimensions}
    return json.dumps({"zarr_consolidated_format": 1, "metadata": metadata}).encode()


def test_only_the_chunk_of_hour_day_and_level_is_mirrored():
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
def test_climatology_metadata_that_make_no_sense_are_refused(metadata):
    with pytest.raises(TransientError, match="climatology"):
        needed_chunks(metadata, INIT_TIME, ["t850"])


async def test_answer_larger_than_expected_is_cut_off():
    transfer = a_transfer(lambda request: httpx.Response(200, content=b"x" * 100))

    with pytest.raises(TransientError, match="more than 99 bytes"):
        await transfer.request("GET", "http://source/", limit_bytes=99)


async def test_source_that_dawdles_is_given_up_for_now():
    async def dawdle(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(TransientError, match=r"0\.01 s") as caught:
        await a_transfer(dawdle, 0.01).request("GET", "http://source/", limit_bytes=1)

    assert not isinstance(caught.value, OwnFailure)


@pytest.mark.parametrize("raised", [httpx.ReadTimeout("quiet"), httpx.ConnectError("refused")])
async def test_library_errors_become_the_sources(raised):
    def fail(request: httpx.Request) -> httpx.Response:
        raise raised

    with pytest.raises(TransientError) as caught:
        await a_transfer(fail).request("GET", "http://source/", limit_bytes=1)

    assert not isinstance(caught.value, OwnFailure)


async def test_download_of_a_missing_file_is_refused(tmp_path: Path):
    transfer = a_transfer(lambda request: httpx.Response(404))

    with pytest.raises(TransientError, match="404"):
        await transfer.download("http://source/x", tmp_path / "x", 10)


async def test_different_requests_of_one_key_wait_for_each_other():
    flights, order = SingleFlight(), []

    async def transfer(name: str) -> None:
        order.append(f"{name} begins")
        await asyncio.sleep(0)
        order.append(f"{name} ends")

    await asyncio.gather(*(flights.run("key", name, lambda name=name: transfer(name)) for name in "aab"))

    assert order == ["a begins", "a ends", "b begins", "b ends"]


async def test_caller_that_leaves_does_not_stop_the_transfer_of_the_others():
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


async def test_stopped_flights_end():
    flights = SingleFlight()
    waiting = asyncio.create_task(flights.run("key", 1, asyncio.Event().wait))
    await asyncio.sleep(0)

    await flights.stop()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_first_error_of_several_transfers_is_raised_as_it_is():
    async def fail() -> None:
        raise TransientError("one of them")

    with pytest.raises(TransientError, match="one of them"):
        await all_of([fail(), asyncio.sleep(60)])


def test_file_whose_writing_fails_never_appears_and_is_our_failure(tmp_path: Path):
    def write() -> None:
        with whole_file(tmp_path / "folder" / "file") as file:
            file.write(bytes(70_000))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, before[1]))
    try:
        with pytest.raises(OwnFailure, match="File too large"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert list((tmp_path / "folder").iterdir()) == []


def test_error_of_a_socket_while_a_file_is_written_is_not_our_disks(tmp_path: Path):
    def download() -> None:
        with whole_file(tmp_path / "file") as file:
            file.write(b"half")
            raise ssl.SSLError("wrong version number")

    with pytest.raises(ssl.SSLError):
        download()

    assert list(tmp_path.iterdir()) == []


async def test_a_job_outlives_a_restart(tmp_path: Path):
    cds = FakeCds("running")
    archive = a_cds(cds, source_timeout_s=0.01)
    with pytest.raises(NotYetAvailable, match="still running, submitted at"):
        await archive.fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")

    cds.status = "successful"
    await a_cds(cds).fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")

    assert [request.method for request in cds.seen].count("POST") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["era5.grib"]


async def test_one_data_set_that_is_still_queued_does_not_undo_the_other(tmp_path: Path):
    cds = FakeCds()
    cds.queued = "pressure"
    archive = a_cds(cds, source_timeout_s=0.01)
    with pytest.raises(NotYetAvailable):
        await archive.fetch(INIT_TIME, ["2t", "z500"], tmp_path / "era5.grib")

    cds.queued = "nothing"
    await archive.fetch(INIT_TIME, ["2t", "z500"], tmp_path / "era5.grib")

    assert [request.method for request in cds.seen].count("POST") == 2


@pytest.mark.parametrize("content", [b"", b"[", b"{", b'{"x": 1}', b"\xff" * 100, b"[" * 100_000])
async def test_remembered_jobs_that_cannot_be_read_are_forgotten(tmp_path: Path, content):
    (tmp_path / "era5.grib.jobs.json").write_bytes(content)

    await a_cds(FakeCds()).fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")

    assert [path.name for path in tmp_path.iterdir()] == ["era5.grib"]


@pytest.mark.parametrize("job_id", ["../../other", "", "j" * 101, "j1/results?", "j 1"])
async def test_a_job_id_never_leads_elsewhere(tmp_path: Path, job_id):
    cds = FakeCds()
    cds.job_id = job_id

    with pytest.raises(TransientError, match="calls a job"):
        await a_cds(cds).fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")

    assert [request.method for request in cds.seen] == ["POST"]


async def test_a_queued_job_is_looked_at_soon_and_then_ever_less_often(tmp_path: Path):
    clock = FakeClock()
    archive = a_cds(FakeCds("accepted"), source_timeout_s=0.01)
    archive._clock = clock
    waits = []

    for _ in range(12):
        with pytest.raises(NotYetAvailable) as caught:
            await archive.fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")
        waits.append(caught.value.retry_at - clock.now())
        await clock.idle_until(caught.value.retry_at)

    assert waits == sorted(waits)
    assert waits[0] == timedelta(seconds=20)
    assert waits[-1] < timedelta(minutes=15)


def layouts_server(present: set[str], seen: list[str]):
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


async def test_gfs_is_found_under_either_releases_names_and_the_right_ones_are_remembered(tmp_path: Path):
    seen: list[str] = []
    archive = NoaaGfsArchive(SourcesSettings(), "0.25", RealClock())
    archive._transfer = a_transfer(layouts_server({V17_FILE}, seen))

    await archive.fetch(INIT_TIME, 12, ["2t"], tmp_path / "first")
    await archive.fetch(INIT_TIME, 12, ["2t"], tmp_path / "second")

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes() == a_message(50)
    found = [f"{V17_FILE}.idx", V17_FILE]
    assert seen == [f"{V16_FILE}.idx", *found, *found]


async def test_gfs_that_does_not_come_names_every_address_and_is_overdue_after_hours(tmp_path: Path):
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
