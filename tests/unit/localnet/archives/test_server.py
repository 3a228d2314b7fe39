"""What the local archives answer to requests that the production clients never make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gaia.localnet.archives.server import ArchiveServer
from gaia.localnet.weather.replay import WeatherReplay
from gaia.validator.core.clock import SimulatedClock

NOW = datetime(2026, 4, 20, tzinfo=UTC)
GFS = "/gfs.20260327/00/atmos/gfs.t00z.pgrb2.1p00.f012"
CDS = "/api/retrieve/v1"
TOKEN = {"PRIVATE-TOKEN": "key"}
INPUTS = {
    "variable": ["2m_temperature"],
    "year": "2026",
    "month": "03",
    "day": ["27", "28"],
    "time": "00:00",
    "grid": [1.0, 1.0],
    "data_format": "grib",
}


@pytest.fixture(scope="module")
def replay() -> WeatherReplay:
    return WeatherReplay()


@pytest.fixture
async def web(tmp_path: Path, replay: WeatherReplay) -> AsyncIterator[httpx.AsyncClient]:
    clock = SimulatedClock.create(tmp_path / "clock", NOW, NOW)
    server = ArchiveServer(clock, replay, tmp_path / "archive", "1.0", ["2t", "z500", "t850"])
    transport = httpx.ASGITransport(server.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://archive") as client:
        yield client
    await server.stop()


async def submit(web: httpx.AsyncClient, **changed: object) -> httpx.Response:
    url = f"{CDS}/processes/reanalysis-era5-single-levels/execution"
    return await web.post(url, headers=TOKEN, json={"inputs": INPUTS | changed})


async def settled(web: httpx.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    while job["status"] in ("accepted", "running"):
        await asyncio.sleep(0.001)
        job = (await web.get(f"{CDS}/jobs/{job['jobID']}")).json()
    return job


@pytest.mark.parametrize(
    "path",
    [
        GFS.replace("1p00", "0p25"),
        GFS.replace("t00z", "t06z"),
        GFS.replace("20260327", "20260399"),
        GFS.replace("/00/", "/03/").replace("t00z", "t03z"),
        GFS.replace("f012", "f400"),
        GFS.replace("20260327", "20260420"),
        "/climatology/1990-2019_6h_1440x721.zarr/.zmetadata",
        "/climatology/1990-2019_6h_360x181.zarr/2m_temperature/4.0.0.0",
        "/climatology/1990-2019_6h_360x181.zarr/wind/0.0.0.0",
        "/climatology/1990-2019_6h_360x181.zarr/2m_temperature/a",
        f"{CDS}/jobs/none",
        f"{CDS}/jobs/none/results",
        f"{CDS}/processes/none",
        "/api/assets/none.grib",
    ],
)
async def test_what_is_not_there_is_not_found(web: httpx.AsyncClient, path: str) -> None:
    assert (await web.get(path)).status_code == 404


async def test_range_is_cut_from_the_file(web: httpx.AsyncClient) -> None:
    whole = await web.get(GFS)
    part = await web.get(GFS, headers={"Range": "bytes=4-7"})
    rest = await web.get(GFS, headers={"Range": "bytes=100-"})

    assert (part.status_code, part.content) == (206, whole.content[4:8])
    assert part.headers["Content-Range"] == f"bytes 4-7/{len(whole.content)}"
    assert rest.content == whole.content[100:]


async def test_range_beyond_the_end_cannot_be_satisfied(web: httpx.AsyncClient) -> None:
    answer = await web.get(GFS, headers={"Range": "bytes=99999999-"})

    assert answer.status_code == 416


async def test_index_lists_every_message_where_it_begins(web: httpx.AsyncClient) -> None:
    index = (await web.get(f"{GFS}.idx")).text.splitlines()
    content = (await web.get(GFS)).content

    assert index[0] == "1:0:d=2026032700:TMP:2 m above ground:12 hour fcst:"
    assert [content[int(line.split(":")[1]) :][:4] for line in index] == [b"GRIB"] * 3


async def test_coordinates_and_separate_metadata_of_the_climatology_are_served(
    web: httpx.AsyncClient,
) -> None:
    store = "/climatology/1990-2019_6h_360x181.zarr"

    levels = await web.get(f"{store}/level/0")
    attributes = await web.get(f"{store}/geopotential/.zattrs")

    assert levels.content == b"\xf4\x01" + bytes(6) + b"\x52\x03" + bytes(6)
    assert attributes.json()["_ARRAY_DIMENSIONS"] == ["hour", "dayofyear", "level", "latitude", "longitude"]


async def test_request_to_the_cds_needs_a_key(web: httpx.AsyncClient) -> None:
    url = f"{CDS}/processes/reanalysis-era5-single-levels/execution"

    assert (await web.post(url, json={"inputs": INPUTS})).status_code == 401


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"variable": ["sea_ice"]}, "holds no sea_ice"),
        ({"variable": ["mean_sea_level_pressure"]}, "no data"),
        ({"data_format": "netcdf"}, "only data_format grib"),
        ({"grid": [0.25, 0.25]}, r"only grid 1\.0"),
        ({"day": []}, "day is missing"),
        ({"day": ["31", "32"]}, "does not match"),
    ],
)
async def test_request_that_cannot_be_met_is_invalid(
    web: httpx.AsyncClient, changed: dict[str, Any], complaint: str
) -> None:
    answer = await submit(web, **changed)

    assert answer.status_code == 400
    assert complaint.replace("\\", "") in answer.json()["detail"]


async def test_request_for_an_unknown_data_set_is_not_found(web: httpx.AsyncClient) -> None:
    answer = await web.post(f"{CDS}/processes/none/execution", headers=TOKEN, json={"inputs": {}})

    assert answer.status_code == 404


async def test_job_of_two_days_holds_two_messages(web: httpx.AsyncClient) -> None:
    job = await settled(web, (await submit(web)).json())

    offered = (await web.get(f"{CDS}/jobs/{job['jobID']}/results")).json()["asset"]["value"]
    content = (await web.get(offered["href"])).content
    assert len(content) == offered["file:size"]
    assert content.count(b"7777GRIB") == 1


async def test_results_of_a_job_at_work_are_not_ready(web: httpx.AsyncClient) -> None:
    job = (await submit(web)).json()

    answer = await web.get(f"{CDS}/jobs/{job['jobID']}/results")

    assert answer.status_code == 404
    assert (await settled(web, job))["status"] == "successful"


async def test_job_for_days_to_come_fails(web: httpx.AsyncClient) -> None:
    tomorrow = NOW + timedelta(days=1)

    job = await settled(web, (await submit(web, month=f"{tomorrow:%m}", day=f"{tomorrow:%d}")).json())

    answer = await web.get(f"{CDS}/jobs/{job['jobID']}/results")
    assert job["status"] == "failed"
    assert "available yet" in answer.json()["traceback"]


async def test_job_can_be_deleted_once(web: httpx.AsyncClient) -> None:
    job = await settled(web, (await submit(web)).json())

    answers = [await web.delete(f"{CDS}/jobs/{job['jobID']}") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 404]


async def test_official_client_finds_what_it_looks_for_first(web: httpx.AsyncClient) -> None:
    assert (await web.get("/api/catalogue/v1/messages")).json() == {"messages": []}
    process = (await web.get(f"{CDS}/processes/reanalysis-era5-pressure-levels")).json()
    assert process["id"] == "reanalysis-era5-pressure-levels"
