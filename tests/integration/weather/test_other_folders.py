"""A validator with another data folder goes on with the runs that the database tells of."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gaia.tasks.defined_tasks.weather.copies.copy_book import ATTEMPTS
from gaia.tasks.defined_tasks.weather.references.lead_references import PATIENCE
from gaia.validator.db.connection import Database
from gaia.validator.utils.ipc_types import WorkUnit
from tests.support.copies import PRODUCTS, a_story, files, found, to_the_first_lead
from tests.support.story import INIT, Story

FIRST, SECOND = "2026-03-25T00Z", "2026-03-26T00Z"
SCORED = "SELECT hotkey, lead_hours, score FROM lead_scores WHERE kind = 'final' AND reason IS NULL"


class Killed(BaseException):
    """The engine dies here."""


def go_on(story: Story, folder: Path) -> None:
    """Let another validator take over, whose data folder is `folder`."""
    story.settings = story.settings.model_copy(update={"data_dir": folder})
    story.task = story.new_task()


def alarms(logs: list[Any]) -> list[str]:
    return [line["event"] for line in logs if line["log_level"] in ("warning", "error")]


async def begin_a_lead(database: Database, folder: Path) -> Story:
    """Let the first validator score lead 24 for two of three miners."""
    story = Story(database, folder)
    story.miners[2].offline_leads = {24}
    await to_the_first_lead(story)
    await story.task.advance(story.clock.now())
    assert len(await story.rows(SCORED)) == 2
    story.miners[2].offline_leads = set()
    return story


@pytest.mark.parametrize("is_moved", [True, False], ids=["moved", "another"])
async def test_lead_that_another_folder_began_ends_with_the_same_values(
    database: Database, tmp_path: Path, is_moved: bool
) -> None:
    story = await begin_a_lead(database, tmp_path / "one")
    begun = await story.rows("SELECT payload, digests FROM lead_inputs WHERE kind = 'final'")
    fetched = len(story.archives.era5.fetched)
    if is_moved:
        shutil.move(tmp_path / "one", tmp_path / "two")
    go_on(story, tmp_path / "two")

    with capture_logs() as logs:
        await story.until_idle()

    inputs = await story.rows("SELECT payload, digests FROM lead_inputs WHERE kind = 'final'")
    assert inputs[0] == begun[0]
    truths = await story.rows("SELECT DISTINCT truth_digest FROM component_scores WHERE lead_hours = 24")
    assert len(truths) == 2  # one for each field
    assert [(await story.outcome(miner))["state"] for miner in story.miners] == ["scored"] * 3
    # Lead 24 again, unless its files moved along, and lead 48.
    assert len(story.archives.era5.fetched) - fetched == (1 if is_moved else 2)
    assert alarms(logs) == []


async def begin_with_values_that_will_be_lost(database: Database, folder: Path) -> Story:
    """Let the first validator score lead 48 of a run for two of three miners, and die before the next run.

    The same truth is that of lead 24 of the next run. Its source then revises it.
    """
    story = Story(database, folder, last_run=INIT + timedelta(days=1))
    story.miners[2].offline_leads = {48}

    def die(unit: WorkUnit) -> None:
        if unit.job_id.startswith(SECOND) and "final/24" in unit.job_id:
            raise Killed

    story.pool.interrupt = die
    with pytest.raises((Killed, BaseExceptionGroup)):
        await story.until_idle()
    story.pool.interrupt = None
    story.miners[2].offline_leads = set()
    story.pool.revision = "revised"
    return story


async def lead_48(story: Story) -> dict[str, tuple[float, str | None]]:
    rows = await story.rows(
        f"SELECT hotkey, score, reason FROM lead_scores WHERE run_id = '{FIRST}' AND lead_hours = 48"
    )
    return {row["hotkey"]: (row["score"], row["reason"]) for row in rows}


async def test_lead_whose_values_are_lost_waits_a_day_and_no_other_run_waits(
    database: Database, tmp_path: Path
) -> None:
    story = await begin_with_values_that_will_be_lost(database, tmp_path / "one")
    last = story.miners[2].hotkey
    before = await lead_48(story)
    begun_at = story.clock.now()
    go_on(story, tmp_path / "two")

    with capture_logs() as logs:
        await story.until(begun_at + PATIENCE - timedelta(hours=1))

    assert await lead_48(story) == before
    assert last not in before
    scored = await story.rows(f"{SCORED} AND run_id = '{SECOND}'")
    assert {row["lead_hours"] for row in scored} >= {24}
    assert len({row["hotkey"] for row in scored}) == 3
    (lost,) = {line["until"] for line in logs if line["event"] == "lead_inputs_lost"}
    assert lost.startswith((begun_at + PATIENCE).date().isoformat())

    await story.until_idle()

    after = await lead_48(story)
    score, reason = after.pop(last)
    assert after == before
    assert math.isnan(score)
    assert reason is not None
    assert "revised" in reason
    assert await story.rows("SELECT FROM runs WHERE state <> 'completed'") == []


async def test_lead_that_was_given_up_counts_neither_for_nor_against_a_miner(
    database: Database, tmp_path: Path
) -> None:
    story = await begin_with_values_that_will_be_lost(database, tmp_path / "one")
    go_on(story, tmp_path / "two")

    await story.until_idle()

    rows = await story.rows(
        f"SELECT leads, day1, overall FROM score_table WHERE run_id = '{FIRST}'"
        f" AND hotkey = '{story.miners[2].hotkey}'"
    )
    (row,) = rows
    assert list(row["leads"]) == ["24"]
    assert row["overall"] == pytest.approx(0.95 * row["leads"]["24"] + 0.05)


def copy_back(tmp_path: Path) -> Path:
    shutil.copytree(tmp_path / "one" / "fields", tmp_path / "two" / "fields", dirs_exist_ok=True)
    return tmp_path / "two"


@pytest.mark.parametrize("returns", [copy_back, lambda tmp_path: tmp_path / "one"], ids=["copy", "former"])
async def test_lead_goes_on_with_its_own_values_when_they_come_back(
    database: Database, tmp_path: Path, returns: Callable[[Path], Path]
) -> None:
    story = await begin_with_values_that_will_be_lost(database, tmp_path / "one")
    go_on(story, tmp_path / "two")
    await story.until(story.clock.now() + timedelta(hours=2))
    folder = returns(tmp_path)
    if folder != story.settings.data_dir:
        go_on(story, folder)

    await story.until_idle()

    assert {reason for _, reason in (await lead_48(story)).values()} == {None}
    truths = "SELECT DISTINCT truth_digest FROM component_scores WHERE field = '2t'"
    first = await story.rows(f"{truths} AND run_id = '{FIRST}' AND lead_hours = 48")
    second = await story.rows(f"{truths} AND run_id = '{SECOND}' AND lead_hours = 24")
    assert len(first) == len(second) == 1
    assert first != second


async def begin_a_lead_with_sketches(database: Database, folder: Path) -> Story:
    story = a_story(database, folder)
    story.miners[2].offline_leads = {24}
    await to_the_first_lead(story)
    await story.task.advance(story.clock.now())
    assert await story.rows(PRODUCTS) == []
    story.miners[2].offline_leads = set()
    return story


async def test_sketches_that_another_folder_holds_are_made_anew_and_no_score_changes(
    database: Database, tmp_path: Path
) -> None:
    story = await begin_a_lead_with_sketches(database, tmp_path / "one")
    before = await story.rows(SCORED)
    go_on(story, tmp_path / "two")

    with capture_logs() as logs:
        await story.until_idle()

    after = await story.rows(SCORED)
    assert [row for row in after if row in before] == before
    assert [len(row["hotkeys"]) for row in await story.rows(PRODUCTS)] == [5, 5]
    assert len((await found(story)).pairs) == 1
    (remade,) = [line for line in logs if line["event"] == "sketches_remade"]
    assert (remade["lead_hours"], remade["made"]) == (24, 4)
    assert alarms(logs) == []


async def test_sketch_of_a_miner_that_is_gone_is_done_without_after_some_attempts(
    database: Database, tmp_path: Path
) -> None:
    story = await begin_a_lead_with_sketches(database, tmp_path / "one")
    story.miners[0].offline_leads = {24}
    go_on(story, tmp_path / "two")

    with capture_logs() as logs:
        await story.until_idle()

    first, second = await story.rows(PRODUCTS)
    assert (len(first["hotkeys"]), len(second["hotkeys"])) == (4, 5)
    assert len([line for line in logs if line["event"] == "sketch_failed"]) == ATTEMPTS
    assert (await story.outcome(story.miners[0]))["state"] == "scored"


async def test_products_that_another_folder_holds_show_the_same_overlaps(
    database: Database, tmp_path: Path
) -> None:
    story = a_story(database, tmp_path / "one")
    await story.until_idle()
    before = await found(story)
    names = [path.name for path in files(story, "products")]
    go_on(story, tmp_path / "two")

    assert await found(story) == before
    assert [path.name for path in files(story, "products")] == names
