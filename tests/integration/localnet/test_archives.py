"""The production clients against the local subnet's archives, and what the handlers make of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gaia.localnet.archives.server import ArchiveServer, Fault
from gaia.localnet.archives.troubles import Source, Trouble
from gaia.localnet.weather.replay import WeatherReplay
from gaia.tasks.defined_tasks.weather.sources.cds import CdsEra5Archive
from gaia.tasks.defined_tasks.weather.sources.climatology import ZarrClimatologyArchive
from gaia.tasks.defined_tasks.weather.sources.gfs import NoaaGfsArchive
from gaia.validator.core.clock import SimulatedClock
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import NotYetAvailable, OwnFailure, TransientError
from tests.support.patience import patience
from tests.support.weather_handlers import gfs_compute, verification_compute

INIT_TIME = datetime(2026, 3, 27, tzinfo=UTC)
HELD = ("2t", "10u", "msl", "z500", "t850")
Archive = NoaaGfsArchive | CdsEra5Archive | ZarrClimatologyArchive
FIELDS = ("msl", "2t", "z500")
PACKING_ERROR = {"2t": 2e-3, "msl": 0.3, "z500": 0.3}


@dataclass
class World:
    """An archive server, a clock and the clients that are told about it."""

    server: ArchiveServer
    replay: WeatherReplay
    settings: Settings
    directory: Path
    clock: SimulatedClock
    closing: AsyncExitStack

    def set_time(self, now: datetime) -> None:
        SimulatedClock.create(self.directory / "clock", now, now)

    def client(self, kind: Any, **changed: Any) -> Any:
        settings = self.settings.model_copy(update=changed)
        grid = [] if kind is ZarrClimatologyArchive else [settings.grid_degrees]
        client = kind(settings.sources, *grid, self.clock)
        self.closing.push_async_callback(client.aclose)
        return client

    def field(self, value: dict[str, Any], name: str) -> Any:
        return np.fromfile(value["fields"][name]["path"], "<f4").reshape(181, 360)


@pytest.fixture(scope="module")
def replay() -> WeatherReplay:
    return WeatherReplay()


@pytest.fixture
async def world(tmp_path: Path, replay: WeatherReplay) -> AsyncIterator[World]:
    clock = SimulatedClock.create(tmp_path / "clock", INIT_TIME + timedelta(days=30), INIT_TIME)
    server = ArchiveServer(clock, replay, tmp_path / "archive", "1.0", HELD)
    await server.start()
    settings = Settings.model_validate(
        {
            "grid_degrees": "1.0",
            "source_timeout_s": patience(10.0),
            **{name.removeprefix("GAIA_").lower(): text for name, text in server.environment().items()},
        }
    )
    async with AsyncExitStack() as closing:
        yield World(server, replay, settings, tmp_path, clock, closing)
    await server.stop()


def gfs_payload(world: World, source: Path, lead_hours: int) -> dict[str, Any]:
    return {
        "grid": "1.0",
        "source_path": str(source),
        "fields": list(FIELDS),
        "init_time": INIT_TIME.isoformat(),
        "lead_hours": lead_hours,
        "out_dir": str(world.directory / "fields"),
    }


@pytest.mark.parametrize("lead_hours", [0, 12])
async def test_gfs_fields_arrive_as_they_were_published(world: World, lead_hours: int) -> None:
    source = world.directory / "gfs.grib"

    await world.client(NoaaGfsArchive).fetch(INIT_TIME, lead_hours, FIELDS, source)
    value = gfs_compute(gfs_payload(world, source, lead_hours))

    for name in FIELDS:
        published = world.replay.gfs_forecast(INIT_TIME, lead_hours, name, "1.0")
        assert np.abs(world.field(value, name) - published).max() < PACKING_ERROR[name]


async def test_gfs_fields_not_asked_for_are_not_fetched(world: World) -> None:
    source = world.directory / "gfs.grib"

    await world.client(NoaaGfsArchive).fetch(INIT_TIME, 12, ["t850", "2t"], source)

    published = world.directory / "archive/gfs.20260327/00/atmos/gfs.t00z.pgrb2.1p00.f012"
    assert source.stat().st_size < published.stat().st_size / 2
    assert source.read_bytes()[:5000] in published.read_bytes()


async def test_era5_fields_of_surface_and_levels_arrive_in_one_file(world: World) -> None:
    source = world.directory / "era5.grib"

    await world.client(CdsEra5Archive).fetch(INIT_TIME, FIELDS, source)
    value = verification_compute(
        {
            "kind": "era5",
            "grid": "1.0",
            "source_path": str(source),
            "fields": list(FIELDS),
            "valid_time": INIT_TIME.isoformat(),
            "out_dir": str(world.directory / "fields"),
        }
    )

    for name in FIELDS:
        truth = world.replay.truth(INIT_TIME, name, "1.0")
        assert np.abs(world.field(value, name) - truth).max() < PACKING_ERROR[name]
    assert sorted(world.directory.glob("era5.grib*")) == [source]


async def test_climatology_arrives_bit_for_bit(world: World) -> None:
    store = world.directory / "climatology"

    await world.client(ZarrClimatologyArchive).fetch(INIT_TIME, FIELDS, store)
    value = verification_compute(
        {
            "kind": "climatology",
            "grid": "1.0",
            "store_dir": str(store),
            "fields": list(FIELDS),
            "valid_time": INIT_TIME.isoformat(),
            "out_dir": str(world.directory / "fields"),
        }
    )

    for name in FIELDS:
        assert np.array_equal(world.field(value, name), world.replay.climatology(name, "1.0"))
    assert (store / "2m_temperature/0.85.0.0").exists()
    assert (store / "geopotential/.zarray").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_climatology_store_can_be_read_by_the_zarr_library(world: World) -> None:
    zarr = pytest.importorskip("zarr")
    store = world.directory / "climatology"
    await world.client(ZarrClimatologyArchive).fetch(INIT_TIME, ["2t"], store)

    array = zarr.open_group(store, mode="r", zarr_format=2)["2m_temperature"]

    assert array.shape == (4, 366, 181, 360)
    assert np.array_equal(array[0, 85], world.replay.climatology("2t", "1.0"))


async def test_gfs_is_not_available_before_its_publication(world: World) -> None:
    world.set_time(INIT_TIME + timedelta(hours=3))

    with pytest.raises(NotYetAvailable) as caught:
        await world.client(NoaaGfsArchive).fetch(INIT_TIME, 12, FIELDS, world.directory / "gfs.grib")

    assert caught.value.retry_at == INIT_TIME + timedelta(hours=4)


async def test_late_gfs_is_asked_for_again_a_little_later(world: World) -> None:
    now = INIT_TIME + timedelta(hours=9)
    world.set_time(now)

    with pytest.raises(NotYetAvailable) as caught:
        await world.client(NoaaGfsArchive).fetch(
            INIT_TIME + timedelta(hours=6), 12, FIELDS, world.directory / "gfs.grib"
        )

    assert caught.value.retry_at == max(now + timedelta(minutes=15), INIT_TIME + timedelta(hours=10))


async def test_era5_is_not_available_before_its_publication(world: World) -> None:
    world.set_time(INIT_TIME + timedelta(days=4))

    with pytest.raises(NotYetAvailable) as caught:
        await world.client(CdsEra5Archive).fetch(INIT_TIME, FIELDS, world.directory / "era5.grib")

    assert caught.value.retry_at == INIT_TIME + timedelta(days=5, hours=6)
    assert not list(world.directory.glob("era5.grib*"))


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.THROTTLED, Fault.TRUNCATED])
@pytest.mark.parametrize("kind", [NoaaGfsArchive, CdsEra5Archive, ZarrClimatologyArchive])
async def test_source_in_trouble_is_tried_again_and_leaves_nothing_behind(
    world: World, kind: type[Archive], fault: Fault
) -> None:
    client = world.client(kind)
    lead = [12] if kind is NoaaGfsArchive else []
    destination = world.directory / "fetched"
    world.server.inject(fault)

    if kind is ZarrClimatologyArchive and fault is Fault.TRUNCATED:
        await client.fetch(INIT_TIME, FIELDS, destination)
        payload: dict[str, Any] = {"kind": "climatology", "grid": "1.0", "store_dir": str(destination)}
        payload |= {"fields": list(FIELDS), "valid_time": INIT_TIME.isoformat()}
        with pytest.raises(TransientError):
            verification_compute(payload | {"out_dir": str(world.directory / "fields")})
    else:
        with pytest.raises(TransientError):
            await client.fetch(INIT_TIME, *lead, FIELDS, destination)
        assert not destination.is_file()
    await client.fetch(INIT_TIME, *lead, FIELDS, destination)

    assert not list(world.directory.rglob("*.part"))
    assert destination.exists()


async def test_stale_index_is_noticed(world: World) -> None:
    world.server.inject(Fault.STALE_INDEX)

    with pytest.raises(TransientError, match="index does not fit"):
        await world.client(NoaaGfsArchive).fetch(INIT_TIME, 12, FIELDS, world.directory / "gfs.grib")


async def test_index_that_names_another_message_is_noticed_by_the_reader(world: World) -> None:
    source = world.directory / "gfs.grib"
    world.server.inject(Fault.WRONG_MESSAGE)
    await world.client(NoaaGfsArchive).fetch(INIT_TIME, 12, FIELDS, source)

    with pytest.raises(TransientError, match="lacks 2t"):
        gfs_compute(gfs_payload(world, source, 12))


async def test_file_of_another_lead_is_noticed_by_the_reader(world: World) -> None:
    source = world.directory / "gfs.grib"
    await world.client(NoaaGfsArchive).fetch(INIT_TIME, 12, FIELDS, source)

    with pytest.raises(TransientError, match="not of 2026-03-27T00 for 2026-03-27T06"):
        gfs_compute(gfs_payload(world, source, 6))


async def test_equal_requests_share_one_transfer(world: World) -> None:
    client = world.client(NoaaGfsArchive)
    source = world.directory / "gfs.grib"

    await asyncio.gather(*(client.fetch(INIT_TIME, 12, FIELDS, source) for _ in range(5)))

    index = "/gfs.20260327/00/atmos/gfs.t00z.pgrb2.1p00.f012.idx"
    assert world.server.requests[index] == 1


async def test_job_still_in_the_queue_is_taken_up_again(world: World) -> None:
    client = world.client(CdsEra5Archive, source_timeout_s=patience(10.0))
    client._patience_s = 0.0
    destination = world.directory / "era5.grib"

    for _ in range(200):
        try:
            await client.fetch(INIT_TIME, ["2t"], destination)
            break
        except NotYetAvailable:
            await asyncio.sleep(0.01)

    submitted = "/api/retrieve/v1/processes/reanalysis-era5-single-levels/execution"
    assert destination.exists()
    assert world.server.requests[submitted] == 1


async def test_field_the_store_does_not_hold_is_transient(world: World) -> None:
    with pytest.raises(TransientError, match="no data"):
        await world.client(CdsEra5Archive).fetch(INIT_TIME, ["10v"], world.directory / "era5.grib")


async def test_unreachable_source_is_transient(world: World) -> None:
    client = world.client(NoaaGfsArchive, gfs_url="http://127.0.0.1:9")

    with pytest.raises(TransientError):
        await client.fetch(INIT_TIME, 12, FIELDS, world.directory / "gfs.grib")


@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (NoaaGfsArchive, Source.GFS),
        (CdsEra5Archive, Source.CDS),
        (ZarrClimatologyArchive, Source.CLIMATOLOGY),
    ],
)
async def test_any_trouble_of_a_source_is_waited_out_and_then_over(
    world: World, kind: type[Archive], source: Source, trouble: Trouble
) -> None:
    client = world.client(kind, source_timeout_s=0.3 if trouble is Trouble.HANG else 10.0)
    lead = [12] if kind is NoaaGfsArchive else []
    world.server.troubles.begin(source, trouble)

    with pytest.raises(TransientError) as caught:
        await client.fetch(INIT_TIME, *lead, ["2t"], world.directory / "fetched")
    assert not isinstance(caught.value, OwnFailure)

    world.server.troubles.end(source)
    patient = world.client(kind)
    await patient.fetch(INIT_TIME, *lead, ["2t"], world.directory / "fetched")
    assert (world.directory / "fetched").exists()


async def test_troubles_are_set_from_another_process_and_concern_one_source(world: World) -> None:
    gfs, climatology = world.client(NoaaGfsArchive), world.client(ZarrClimatologyArchive)
    switch = f"{world.settings.gfs_url}/troubles?source=gfs"
    async with httpx.AsyncClient(mounts={"all://127.0.0.1": None}) as http:
        assert (await http.post(f"{switch}&trouble=licence&times=1")).status_code == 200
        assert (await http.post(f"{switch}&trouble=unheard-of")).status_code == 400
        await climatology.fetch(INIT_TIME, ["2t"], world.directory / "climatology")
        with pytest.raises(TransientError, match="licences"):
            await gfs.fetch(INIT_TIME, 12, ["2t"], world.directory / "gfs")
        await gfs.fetch(INIT_TIME, 12, ["2t"], world.directory / "gfs")
        await http.post(f"{switch}&trouble=garbage")
        with pytest.raises(TransientError):
            await gfs.fetch(INIT_TIME, 12, ["2t"], world.directory / "gfs")
        assert (await http.post(f"{switch}&trouble=none")).json() == {"struck": 2}
    await gfs.fetch(INIT_TIME, 12, ["2t"], world.directory / "gfs")
