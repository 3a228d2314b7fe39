"""Archives that refuse, move, hang or talk nonsense delay scores; they end nothing and cost nobody."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from gaia.localnet.archives.server import ArchiveServer
from gaia.localnet.archives.troubles import CONTROL_PATH, Source, Trouble
from gaia.localnet.options import Options
from gaia.localnet.subnet import LocalSubnet
from gaia.localnet.weather.replay import WeatherReplay
from gaia.tasks.defined_tasks.base import Archives
from gaia.tasks.defined_tasks.weather.copies.copy_book import CopyBook
from gaia.tasks.defined_tasks.weather.sources.cds import CdsEra5Archive
from gaia.tasks.defined_tasks.weather.sources.climatology import ZarrClimatologyArchive
from gaia.tasks.defined_tasks.weather.sources.gfs import NoaaGfsArchive
from gaia.tasks.defined_tasks.weather.task import WeatherTask
from gaia.validator.db.connection import Database
from gaia.validator.utils.config import Settings
from tests.support.fakes import (
    FIELDS,
    LEADS,
    FakeClock,
    FakeMetagraph,
    FakeMiner,
    FakeMiners,
    FakePool,
    a_metagraph,
)
from tests.support.rehearsal import until

MINERS = 4
INIT = datetime(2026, 3, 25, tzinfo=UTC)


class TroubledSubnet(LocalSubnet):
    """A local subnet whose archives are in trouble before its validator starts."""

    def start_validator(self) -> None:
        """Give up a silent archive after two seconds, and begin with every trouble there is."""
        assert self.settings is not None
        self.settings = self.settings.model_copy(update={"source_timeout_s": 2.0})
        for source in Source:
            for trouble in Trouble:
                self.switch(source=source, trouble=trouble, times=1)
        super().start_validator()

    def switch(self, **asked: Any) -> int:
        """Begin or end a trouble; return how many requests troubles have answered so far."""
        assert self.settings is not None
        with httpx.Client(mounts={"all://127.0.0.1": None}) as client:
            answer = client.post(self.settings.gfs_url + CONTROL_PATH, params=asked)
        struck: int = answer.raise_for_status().json()["struck"]
        return struck


async def test_every_trouble_of_every_archive_is_lived_through_and_weights_are_set(tmp_path: Path) -> None:
    async with TroubledSubnet(tmp_path / "state", Options(miners=MINERS, seed=3)) as subnet:
        await subnet.start()
        progress = await until(subnet, lambda progress: progress.is_complete(1))
        struck = sum(subnet.switch(source=source, trouble="none") for source in Source) / len(Source)
        clean = await subnet.stop_validator()

    assert struck == len(Trouble) * len(Source)
    assert [forecast.state for forecast in progress.forecasts] == ["scored"] * MINERS
    assert all(len(forecast.leads) == 10 for forecast in progress.forecasts)
    assert all(forecast.day1 is not None for forecast in progress.forecasts)
    assert clean


async def test_the_tick_lives_through_every_trouble_and_scores_as_if_there_had_been_none(
    database: Database, tmp_path: Path
) -> None:
    clock = FakeClock()
    miners = [FakeMiner(f"//Miner/{n}") for n in range(3)]
    server = ArchiveServer(clock, WeatherReplay(), tmp_path / "archive", "1.0", FIELDS)
    await server.start()
    named = {name.removeprefix("GAIA_").lower(): text for name, text in server.environment().items()}
    settings = Settings.model_validate(
        {
            "data_dir": tmp_path / "data",
            "run_jitter_minutes": 0,
            "last_run": INIT,
            "grid_degrees": "1.0",
            "source_timeout_s": 1.0,
            "day1_fields": FIELDS,
            "final_fields": FIELDS,
            "final_lead_hours": LEADS,
            **named,
        }
    )
    gfs, era5 = (
        NoaaGfsArchive(settings.sources, settings.grid_degrees, clock),
        CdsEra5Archive(settings.sources, settings.grid_degrees, clock),
    )
    climatology = ZarrClimatologyArchive(settings.sources, clock)
    archives = Archives(gfs=gfs, era5=era5, climatology=climatology)
    metagraph = FakeMetagraph(a_metagraph([miner.hotkey for miner in miners]))
    pool = FakePool(miners)
    copies = CopyBook(settings.weather, database, pool)
    task = WeatherTask(
        settings.weather,
        database,
        miners=FakeMiners(miners),
        archives=archives,
        pool=pool,
        metagraph=metagraph,
        clock=clock,
        copies=copies,
    )
    for source in Source:
        for trouble in Trouble:
            server.troubles.begin(source, trouble, times=1)

    due: datetime | None = INIT
    while due is not None:
        due = await task.advance(clock.now())
        await clock.idle_until(due)

    async with database.transaction() as connection:
        states = [row["state"] for row in await connection.fetch("SELECT state FROM forecasts")]
        leads = [row["leads"] for row in await connection.fetch("SELECT leads FROM score_table")]
    for client in (gfs, era5, climatology):
        await client.aclose()
    await server.stop()
    assert server.troubles.struck == len(Trouble) * len(Source)
    assert states == ["scored"] * 3
    assert [sorted(found) for found in leads] == [[str(lead) for lead in LEADS]] * 3
