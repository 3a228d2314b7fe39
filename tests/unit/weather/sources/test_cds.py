"""What the client of the Climate Data Store asks for, remembers and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gaia.tasks.defined_tasks.weather.sources.cds import CdsEra5Archive, requests_for
from gaia.validator.core.clock import RealClock
from gaia.validator.utils.errors import NotYetAvailable, TransientError
from gaia.validator.utils.settings.sources import SourcesSettings
from tests.support.fakes import FakeClock
from tests.support.transfers import a_transfer

INIT_TIME = datetime(2026, 3, 25, tzinfo=UTC)


def test_one_request_to_the_cds_for_each_data_set() -> None:
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


def a_cds(handler: Callable[[httpx.Request], httpx.Response], **changed: Any) -> CdsEra5Archive:
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
        self.offered: dict[str, int | str] = {"file:size": len(self.content), "file:checksum": ""}
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


async def test_key_goes_to_the_cds_but_not_to_the_file_store(tmp_path: Path) -> None:
    cds = FakeCds()

    await a_cds(cds).fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")

    assert (tmp_path / "era5.grib").read_bytes() == cds.content
    assert {request.url.host: request.headers.get("PRIVATE-TOKEN") for request in cds.seen} == {
        "cds": "secret",
        "store": None,
    }
    assert json.loads(cds.seen[0].content)["inputs"]["data_format"] == "grib"


async def test_request_refused_at_once_for_being_too_early_is_snoozed(tmp_path: Path) -> None:
    text = "None of the data you have requested is available yet, please revise the period requested."
    archive = a_cds(lambda request: httpx.Response(400, json={"detail": text}))

    with pytest.raises(NotYetAvailable):
        await archive.fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")


@pytest.mark.parametrize(
    ("status", "complaint"), [("failed", "failed for some reason"), ("dismissed", "dismissed")]
)
async def test_job_that_failed_is_submitted_anew(tmp_path: Path, status: str, complaint: str) -> None:
    cds = FakeCds(status)
    if status == "failed":
        cds.results = httpx.Response(400, json={"traceback": complaint})
    archive = a_cds(cds)

    with pytest.raises(TransientError, match=complaint):
        await archive.fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")
    cds.status, cds.results = "successful", None
    await archive.fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")

    assert [request.method for request in cds.seen].count("POST") == 2


async def test_job_that_is_gone_is_submitted_anew(tmp_path: Path) -> None:
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
        ({"file:size": "much"}, "unreadable answer"),
    ],
)
async def test_file_other_than_the_one_offered_is_refused(
    tmp_path: Path, offered: dict[str, int | str], complaint: str
) -> None:
    cds = FakeCds()
    cds.offered |= offered

    with pytest.raises(TransientError, match=complaint):
        await a_cds(cds).fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")
    assert list(tmp_path.iterdir()) == []
    cds.offered = {"file:size": len(cds.content)}
    await a_cds(cds).fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")
    assert [request.method for request in cds.seen].count("POST") == 2


async def test_a_job_outlives_a_restart(tmp_path: Path) -> None:
    cds = FakeCds("running")
    archive = a_cds(cds, source_timeout_s=0.01)
    with pytest.raises(NotYetAvailable, match="still running, submitted at"):
        await archive.fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")

    cds.status = "successful"
    await a_cds(cds).fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")

    assert [request.method for request in cds.seen].count("POST") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["era5.grib"]


async def test_one_data_set_that_is_still_queued_does_not_undo_the_other(tmp_path: Path) -> None:
    cds = FakeCds()
    cds.queued = "pressure"
    archive = a_cds(cds, source_timeout_s=0.01)
    with pytest.raises(NotYetAvailable):
        await archive.fetch(INIT_TIME, ["2t", "z500"], tmp_path / "era5.grib")

    cds.queued = "nothing"
    await archive.fetch(INIT_TIME, ["2t", "z500"], tmp_path / "era5.grib")

    assert [request.method for request in cds.seen].count("POST") == 2


@pytest.mark.parametrize("content", [b"", b"[", b"{", b'{"x": 1}', b"\xff" * 100, b"[" * 100_000])
async def test_remembered_jobs_that_cannot_be_read_are_forgotten(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "era5.grib.jobs.json").write_bytes(content)

    await a_cds(FakeCds()).fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")

    assert [path.name for path in tmp_path.iterdir()] == ["era5.grib"]


@pytest.mark.parametrize("job_id", ["../../other", "", "j" * 101, "j1/results?", "j 1"])
async def test_a_job_id_never_leads_elsewhere(tmp_path: Path, job_id: str) -> None:
    cds = FakeCds()
    cds.job_id = job_id

    with pytest.raises(TransientError, match="calls a job"):
        await a_cds(cds).fetch(INIT_TIME, ["2t"], tmp_path / "era5.grib")

    assert [request.method for request in cds.seen] == ["POST"]


async def test_a_queued_job_is_looked_at_soon_and_then_ever_less_often(tmp_path: Path) -> None:
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
