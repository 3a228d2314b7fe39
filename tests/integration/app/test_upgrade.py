"""The page about upgrades, walked through: an earlier release's run ends in the same scores, whoever ends it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import pytest

from gaia.localnet.options import Options, clock_file, data_dir
from gaia.localnet.subnet import LocalSubnet
from gaia.localnet.view.watch import Progress
from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.core.clock import SimulatedClock
from gaia.validator.db.access.lease import LEASE_S
from gaia.validator.db.schema.files import read_migrations
from tests.support.patience import patience
from tests.support.rehearsal import PATIENCE_S, steps_done, until
from tests.support.repository import ROOT
from tests.support.shared_database import SharedDatabase, release, results

BEFORE_GUARDS: Final = "59dfa6ef"
"""The release before the schema had invariants: 12 migrations, no lease."""
BEFORE_RETENTION: Final = "ca759475"
"""The release before old data was removed: 15 migrations, with a lease."""
UNKNOWN: Final = ("backup_every_hours",)
"""Settings of the local subnet that neither knows."""
OPTIONS: Final = Options(miners=4, seed=7)
STEPS: Final = 4 * 13
"""Answers, freezes and scored leads of a run, from first to last."""
NEWEST: Final = max(migration.version for migration in read_migrations())


def is_completed(progress: Progress) -> bool:
    return bool(progress.completed_ids)


def has_done(share: float) -> Any:
    return lambda progress: steps_done(progress) >= share * STEPS


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple[Any, ...]]]:
    """The results of a run that nothing disturbs."""
    return asyncio.run(_undisturbed(tmp_path_factory.mktemp("calm")))


async def _undisturbed(folder: Path) -> list[list[tuple[Any, ...]]]:
    async with LocalSubnet(folder, OPTIONS) as subnet:
        await subnet.start()
        await until(subnet, is_completed)
        return await results(embedded_dsn(data_dir(folder)))


@pytest.mark.slow
async def test_release_is_upgraded_in_one_place_and_taken_back_in_the_middle_of_a_run(
    calm: list[list[tuple[Any, ...]]], empty_dsn: str, tmp_path: Path
) -> None:
    earlier = release(BEFORE_GUARDS, tmp_path / "earlier")
    async with SharedDatabase(tmp_path / "shared", OPTIONS, empty_dsn) as subnet:
        subnet.install(earlier, UNKNOWN)
        await subnet.start()
        await until(subnet, has_done(0.4))
        assert await subnet.stop_validator()

        subnet.install(ROOT)
        plan = json.loads(subnet.gaia("upgrade", "plan", "--json").stdout)
        assert [row["version"] for row in plan["stored"]["missing"]] == list(range(13, NEWEST + 1))
        subnet.start_validator()
        halfway = await until(subnet, has_done(0.7))
        assert not is_completed(halfway)
        assert await subnet.stop_validator()

        told = subnet.gaia("db", "rollback", "--to", "12")
        assert told.returncode == 0, told.stderr
        taken_back = subnet.gaia("db", "rollback", "--to", "12", "--yes")
        assert taken_back.returncode == 0, taken_back.stderr
        subnet.install(earlier, UNKNOWN)
        subnet.start_validator()
        await until(subnet, is_completed)
        assert not {"run_steps_failed", "job_failed"} & subnet.said()
    assert await results(empty_dsn) == calm


@pytest.mark.slow
async def test_later_release_stands_by_beside_the_earlier_one_and_takes_over_without_a_gap(
    calm: list[list[tuple[Any, ...]]], empty_dsn: str, tmp_path: Path
) -> None:
    earlier = release(BEFORE_RETENTION, tmp_path / "earlier")
    async with SharedDatabase(tmp_path / "shared", OPTIONS, empty_dsn) as subnet:
        subnet.install(earlier, UNKNOWN)
        await subnet.start()
        await until(subnet, has_done(0.3))
        active = subnet.validator
        assert active is not None

        # The calendar stands still, so that the earlier release does not end the run meanwhile.
        with SimulatedClock(clock_file(subnet.state_dir)).held("upgrade"):
            subnet.use("two")
            subnet.install(ROOT)
            plan = json.loads(subnet.gaia("upgrade", "plan", "--json").stdout)
            assert [row["version"] for row in plan["stored"]["missing"]] == list(range(16, NEWEST + 1))
            assert plan["stored"]["holder"].endswith("/one")
            subnet.start_validator()
            await until(subnet, lambda _: "standing_by" in subnet.said())
            waiting = json.loads(subnet.gaia("upgrade", "plan", "--json").stdout)
            assert waiting["stored"] == plan["stored"]
            assert await active.stop(patience(60.0))
        assert not is_completed(await subnet.progress())
        await until(subnet, is_completed, PATIENCE_S + patience(LEASE_S))
        assert subnet.gaia("db", "status").returncode == 0
        assert not {"run_steps_failed", "job_failed"} & subnet.said()
    assert await results(empty_dsn) == calm
