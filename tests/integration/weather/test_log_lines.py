"""What the log says of a whole run: whose each line is, and the numbers of what is finished."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from gaia.validator.app.logging_config import configure_logging
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import OwnFailure
from gaia.validator.utils.logs.files import LogFiles
from tests.support.fakes import FakeMiner
from tests.support.story import INIT, Story

RUN = "2026-03-25T00Z"
OF_A_STEP = {"run_id", "hotkey", "uid", "trace_id", "elapsed_s"}


class Log:
    """The lines of this process, as its files have them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        texts = [path.read_text() for path in sorted(self._folder.iterdir())]
        lines = [json.loads(line) for text in texts for line in text.splitlines()]
        return [line for line in lines if event in (None, line["event"])]

    def of(self, miner: FakeMiner) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("hotkey") == miner.hotkey]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    configure_logging("INFO", "json", LogFiles(folder=str(tmp_path / "logs")), role="io_engine")
    yield Log(tmp_path / "logs")
    configure_logging("WARNING", "json")
    structlog.reset_defaults()


@pytest.fixture
def story(database: Database, tmp_path: Path) -> Story:
    """Six miners: one refuses, one forges its manifest, one lies at a late lead, one is away at a lead."""
    story = Story(database, tmp_path, count=6)
    story.miners[1].accepts = False
    story.miners[2].manifest = story.miners[2].manifest.replace(story.miners[2].hotkey.encode(), b"5Other")
    story.miners[3].bad_leads = {48}
    story.miners[4].offline_leads = {24}
    return story


async def test_every_line_of_a_step_tells_whose_it_is_and_no_other_does(story: Story, log: Log) -> None:
    await story.until_idle()

    uids = {neuron.hotkey: neuron.uid for neuron in story.metagraph.latest().neurons}
    lines = log.lines()
    of_steps = [line for line in lines if "hotkey" in line]
    assert len(of_steps) > 30
    assert all(line.keys() >= OF_A_STEP for line in of_steps)
    assert all((line["uid"], line["run_id"]) == (uids[line["hotkey"]], RUN) for line in of_steps)
    # A step has one trace, and no two miners share one.
    owners = {(line["trace_id"], line["hotkey"]) for line in of_steps}
    assert len(owners) == len({trace for trace, _ in owners})
    # A batch of forecasts is the line of no single miner.
    batches = [line for line in log.lines("unit_finished") if "/batch-" in line["job_id"]]
    assert batches
    assert all({"hotkey", "uid"}.isdisjoint(line) and line["run_id"] == RUN for line in batches)


async def test_each_finished_thing_has_one_line_with_its_numbers(story: Story, log: Log) -> None:
    await story.until_idle()

    (opened,) = log.lines("run_opened")
    assert (opened["run_id"], opened["miners"], opened["rule_set"]) == (RUN, 6, "gaia-2.9")
    closed = {line["hotkey"]: line for line in log.lines("forecast_closed")}
    assert len(log.lines("forecast_closed")) == 6
    assert [closed[miner.hotkey]["state"] for miner in story.miners] == [
        *("scored", "rejected", "rejected", "rejected", "scored", "scored")
    ]
    assert closed[story.miners[0].hotkey]["leads"] == 3
    (completed,) = log.lines("run_completed")
    assert {name: completed[name] for name in ("miners", "scored", "rejected", "excused")} == {
        "miners": 6,
        "scored": 3,
        "rejected": 3,
        "excused": 0,
    }
    assert "1 x refused: busy" in completed["rejected_for"]
    # Three that are scored at three leads, one of which is lost, and two leads of the one that lies at the third.
    assert (completed["leads_scored"], completed["leads_lost"]) == (10, 1)
    assert completed["truth_latency_h"] == pytest.approx(126, abs=3)
    assert completed["seconds"] > 86_400 * 6
    assert completed["received_bytes"] > 0
    assert completed["received_since"] == "opening"


async def test_bytes_of_a_run_that_an_earlier_process_opened_are_not_called_whole(
    story: Story, log: Log
) -> None:
    await story.until(INIT + timedelta(hours=20))
    story.task = story.new_task()

    await story.until_idle()

    (completed,) = log.lines("run_completed")
    assert completed["received_since"] == "restart"


async def test_lying_miner_is_normal_and_noted_for_security(story: Story, log: Log) -> None:
    await story.until_idle()

    liars = [story.miners[number] for number in (1, 2, 3, 4)]
    assert [line for line in log.lines() if line["level"] != "info"] == []
    security = [(line["event"], line["hotkey"]) for line in log.lines() if line["logger"] == "security"]
    assert security == [("manifest_refused", liars[1].hotkey), ("verification_failed", liars[2].hotkey)]
    assert "signed by" in log.lines("manifest_refused")[0]["reason"]


async def test_line_of_a_scored_lead_leads_to_its_unit(story: Story, log: Log) -> None:
    await story.until_idle()

    units = {line["job_id"]: line for line in log.lines("unit_finished")}
    scored = log.lines("lead_scored")
    assert len(scored) == 10
    assert all(units[line["job_id"]]["outcome"] == "ok" for line in scored)
    assert all(
        line.keys() >= {"handler", "attempt", "wall_s", "cpu_s", "peak_rss_mib", "trace_id"}
        for line in units.values()
    )
    assert all(line["logger"] == "performance" for line in units.values())


async def test_outage_of_ours_is_said_once_for_all_miners(story: Story, log: Log) -> None:
    for miner in story.miners:
        miner.raises["request_forecast"] = [OwnFailure("the signer is away")] * 2

    await story.until_idle()

    (told,) = log.lines("step_postponed")
    assert (told["level"], told["error"]) == ("warning", "OwnFailure: the signer is away")
    assert len(log.lines("forecast_closed")) == 6


async def test_bug_in_a_step_is_an_error_with_its_trace(story: Story, log: Log) -> None:
    story.miners[0].raises["request_forecast"] = [ZeroDivisionError("oops")]

    await story.until_idle()

    (told,) = log.lines("step_crashed")
    assert told["level"] == "error"
    assert told["hotkey"] == story.miners[0].hotkey
    assert "ZeroDivisionError: oops" in told["exception"]
