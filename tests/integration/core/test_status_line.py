"""The status line of a validator with a real database."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.observation.pages.insight import Insight
from gaia.validator.core.incidents import Incident
from gaia.validator.core.status.facts import Facts, Seats
from gaia.validator.core.status_line import StatusReader
from gaia.validator.core.task_orchestrator import TaskOrchestrator
from gaia.validator.db.connection import Database
from tests.support.status_facts import some_facts
from tests.support.story import INIT, Story

POOL = SimpleNamespace(queue_depth=2, busy=1, healthy_seats=3)


def _reader(story: Story) -> StatusReader:
    insight = Insight(lambda: story.settings.status, story.database, list, lambda: Seats(healthy=3, wanted=3))

    async def facts() -> Facts:
        """Return what the database holds, of a validator whose processes, chain and disk are well."""
        found, limits = await insight.facts(), some_facts().limits
        return some_facts(
            now=story.clock.now(),
            work=found.work,
            database_error=found.database_error,
            seats=found.seats,
            limits=replace(limits, opens_runs=False),
        )

    return StatusReader(
        story.database,
        story.metagraph,
        POOL,
        facts,
        seats=lambda: 3,
        lines_logged=lambda: {"warning": 2, "error": 1},
    )


async def test_line_follows_a_run_from_its_opening_to_its_end(database: Database, tmp_path: Path) -> None:
    story = Story(database, tmp_path)
    story.miners[1].accepts = False
    story.miners[0].polls_until_ready = 3
    reader = _reader(story)

    async def phase() -> tuple[str | None, str]:
        line = await reader.line(story.clock.now(), None)
        assert line.health == "ok"
        return line.run, line.phase

    seen = [await phase()]
    await story.until(INIT + timedelta(hours=18, minutes=1))
    seen.append(await phase())
    await story.until(INIT + timedelta(days=2))
    line = await reader.line(story.clock.now(), story.clock.now() + timedelta(days=4))
    seen.append(await phase())
    await story.until_idle()
    seen.append(await phase())

    run = "2026-03-25T00Z"
    assert [run for run, _ in seen] == [None, run, run, None]
    assert [phase for _, phase in seen] == [
        *("no run is open", "freezing manifests", "awaiting ERA5", "no run is open")
    ]
    assert line.forecasts == {"planned": 0, "requested": 0, "frozen": 0, "scored_day1": 2, "rejected": 1}
    assert (line.queued, line.leased, line.healthy_seats, line.seats) == (2, 1, 3, 3)
    assert (line.errors_logged, line.warnings_logged) == (1, 2)
    assert line.next_due == INIT + timedelta(days=6)


async def test_party_that_fails_comes_first(database: Database, tmp_path: Path) -> None:
    story = Story(database, tmp_path)
    now = story.clock.now()
    incident = Incident(database, "chain")

    await incident.failing("connection refused", now)
    failing = await _reader(story).line(now, None)
    await incident.recovered(now)
    well = await _reader(story).line(now, None)

    assert failing.health == f"chain fails since {now:%Y-%m-%d %H:%MZ}: connection refused"
    assert well.health == "ok"


async def test_database_that_fails_is_named_and_costs_no_line(database: Database, tmp_path: Path) -> None:
    story = Story(database, tmp_path)
    async with database.transaction() as connection:
        await connection.execute("DROP TABLE incidents CASCADE")

    line = await _reader(story).line(story.clock.now(), None)

    assert line.health.startswith("the database cannot be read: ")
    assert "incidents" in line.health
    assert (line.run, line.phase, line.block) == (None, "unknown", 1000)


async def test_orchestrator_says_the_line(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story(database, tmp_path)
    unused: Any = None
    orchestrator = TaskOrchestrator(
        story.clock,
        [story.task],
        metagraph=unused,
        weights=unused,
        chain=unused,
        on_error=unused,
        status=_reader(story),
        tick_interval_s=1.0,
        metagraph_interval_s=1.0,
        drain_timeout_s=1.0,
    )
    await orchestrator.main_scoring()
    configure_logging("INFO", "json")

    await orchestrator.status_logger()

    (line,) = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["level"], line["health"]) == ("status", "info", "ok")
    # The tick before has told when something is due next.
    assert line["next_due"] == "2026-03-25T18:00:00Z"
    assert line["now"] == "2026-03-25T18:00:00Z"
    structlog.reset_defaults()
