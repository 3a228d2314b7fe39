"""Errors of a lead's forecasts are multiplied once the lead is settled, whoever is killed when."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gaia.tasks.defined_tasks.weather.copies.copy_book import ATTEMPTS
from gaia.validator.db import gram_matrices
from gaia.validator.db.connection import Database
from gaia.validator.db.queries import Run
from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit
from tests.support.copies import PRODUCTS, a_story, disk_full, files, found, to_the_first_lead
from tests.support.fakes import LEADS, Dispatch, FakePool
from tests.support.patience import Deadline
from tests.support.story import INIT, Story


class Killed(BaseException):
    """The engine dies here."""


@pytest.fixture
def story(database: Database, tmp_path: Path) -> Story:
    return a_story(database, tmp_path)


async def test_every_settled_lead_has_products_and_its_sketches_are_gone(story: Story) -> None:
    await story.until_idle()

    rows = await story.rows(PRODUCTS)
    assert [row["lead_hours"] for row in rows] == LEADS
    assert rows[0]["hotkeys"] == sorted(miner.hotkey for miner in story.miners)
    assert files(story, "sketches") == []
    assert {path.name for path in files(story, "products")} == {f"{row['sha256']}.f64" for row in rows}


async def test_rules_that_look_for_no_copies_make_nothing(database: Database, tmp_path: Path) -> None:
    story = a_story(database, tmp_path, rule_set="gaia-2.9")

    await story.until_idle()

    assert await story.rows(PRODUCTS) == []
    assert not any((tmp_path / folder).exists() for folder in ("sketches", "products"))
    assert not any("sketch" in str(unit.payload) for unit in story.pool.units)


async def test_shadow_rules_make_no_sketches(database: Database, tmp_path: Path) -> None:
    story = a_story(database, tmp_path, rule_set="gaia-2.9", shadow_rule_set="gaia-next")

    await story.until_idle()

    assert not (tmp_path / "sketches").exists()


async def test_what_a_lead_was_given_says_nothing_of_sketches(story: Story) -> None:
    await story.until_idle()

    assert "sketch" not in str(await story.rows("SELECT payload FROM lead_inputs"))


async def test_a_lead_waits_for_the_miner_that_is_late(story: Story) -> None:
    story.miners[2].offline_leads = {24}
    due = INIT + timedelta(hours=24, days=5) + timedelta(hours=6)

    await story.until(due)
    await story.task.advance(story.clock.now())

    assert await story.rows(PRODUCTS) == []
    assert len(files(story, "sketches")) == 4 + 1

    await story.until_idle()

    (first, _) = await story.rows(PRODUCTS)
    assert story.miners[2].hotkey not in first["hotkeys"]


def die_at(monkeypatch: pytest.MonkeyPatch, story: Story, step: str) -> None:
    """Let the engine die once, at a step of the way from sketches to products."""

    def once(function: Callable[..., Awaitable[Any]], *, after: bool) -> Callable[..., Awaitable[Any]]:
        state = iter([True])

        async def dying(*arguments: Any, **named: Any) -> Any:
            if next(state, False):
                if after:
                    await function(*arguments, **named)
                raise Killed
            return await function(*arguments, **named)

        return dying

    match step:
        case "sketched":
            story.pool.dispatch = dispatch_dying(story.pool, "weather.score.batch")
        case "multiplied":
            story.pool.dispatch = dispatch_dying(story.pool, "weather.copies.products")
        case "before recording" | "uncommitted":
            recording = once(gram_matrices.record_matrix, after=step == "uncommitted")
            monkeypatch.setattr(gram_matrices, "record_matrix", recording)
        case "recorded":
            monkeypatch.setattr(asyncio, "to_thread", once(asyncio.to_thread, after=False))
        case "forgetting":
            forgetting = once(gram_matrices.forget_matrices, after=True)
            monkeypatch.setattr(gram_matrices, "forget_matrices", forgetting)


def dispatch_dying(pool: FakePool, handler: str) -> Dispatch:
    """The unit is done, and nobody is there to hear of it."""
    answer, left = pool.dispatch, itertools.count()

    async def dispatch(unit: WorkUnit) -> ResultUnit:
        result = await answer(unit)
        if unit.handler == handler and unit.payload.get("lead_hours", 24) == 24 and next(left) == 0:
            raise Killed
        return result

    return dispatch


@pytest.mark.parametrize(
    "step", ["sketched", "multiplied", "before recording", "uncommitted", "recorded", "forgetting"]
)
async def test_a_killed_engine_ends_in_the_same_products(
    story: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str
) -> None:
    die_at(monkeypatch, story, step)

    with pytest.raises((Killed, BaseExceptionGroup)):
        await story.until_idle()
    story.task = story.new_task()
    await story.until_idle()

    rows = await story.rows(PRODUCTS)
    assert [(row["lead_hours"], len(row["hotkeys"])) for row in rows] == [(24, 5), (48, 5)]
    assert len((await found(story)).pairs) == 1
    assert files(story, "sketches") == []
    assert {path.name for path in files(story, "products")} == {f"{row['sha256']}.f64" for row in rows}


async def test_products_leave_a_day_after_their_run_has_left_the_window(
    database: Database, tmp_path: Path
) -> None:
    story = a_story(database, tmp_path, last_run=INIT + timedelta(days=2), weights_window_days=0.5)

    await story.until_idle()

    rows = await story.rows(PRODUCTS)
    assert sorted(row["run_id"] for row in rows) == ["2026-03-26T00Z"] * 2 + ["2026-03-27T00Z"] * 2
    assert {path.name for path in files(story, "products")} == {f"{row['sha256']}.f64" for row in rows}


async def test_left_over_drafts_and_sketches_of_closed_runs_are_removed(story: Story) -> None:
    draft = story.settings.data_dir / "products" / "abc.77.part"
    stray = story.settings.data_dir / "sketches" / "2026-01-01T00Z" / "24" / "5Gone.f32"
    for path in (draft, stray):
        path.parent.mkdir(parents=True)
        path.write_text("left over")

    await story.until_idle()

    assert not draft.exists()
    assert not stray.parent.parent.exists()


async def test_a_run_that_breaks_at_each_tick_does_not_keep_its_leads_from_being_settled(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    await to_the_first_lead(story)

    async def broken(run: Run, now: datetime) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(story.task, "complete", broken)

    with pytest.raises(RuntimeError, match="a bug"):
        await story.task.advance(story.clock.now())

    assert [row["lead_hours"] for row in await story.rows(PRODUCTS)] == [24]


async def test_each_run_is_settled_before_the_next_one_is_scored(database: Database, tmp_path: Path) -> None:
    story = a_story(database, tmp_path, last_run=INIT + timedelta(days=1))
    both_due = INIT + timedelta(hours=48, days=5) + timedelta(hours=6)
    at_once = []
    story.pool.interrupt = lambda unit: at_once.append({path.parent for path in files(story, "sketches")})

    await story.until(both_due)
    assert len(await story.rows(PRODUCTS)) == 1
    deadline = Deadline(10.0)
    while len(await story.rows(PRODUCTS)) < 3:
        assert not deadline.has_passed
        await story.task.advance(story.clock.now())

    assert max(map(len, at_once)) == 1


async def test_what_a_hostile_worker_leaves_in_the_folders_stops_nothing_and_is_told_once(
    story: Story, tmp_path: Path
) -> None:
    outside = tmp_path / "outside" / "24"
    outside.mkdir(parents=True)
    sketches = story.settings.data_dir / "sketches"
    for name in ("x/y", "x/24", "2026-03-25T00Z/y", "2026-03-25T00Z/99999999999", "2026-03-25T00Z/٢٤"):
        (sketches / name).mkdir(parents=True)
    (sketches / "2026-03-24T00Z").symlink_to(outside.parent)
    (story.settings.data_dir / "products" / "folder" / "file").mkdir(parents=True)

    with capture_logs() as logs:
        await story.until_idle()

    assert len(await story.rows(PRODUCTS)) == len(LEADS)
    assert len((await found(story)).pairs) == 1
    told = [entry for entry in logs if entry["event"] == "sketch_paths_unknown"]
    assert sum(entry["count"] for entry in told) == 5
    assert outside.exists()
    assert {path.suffix for path in (story.settings.data_dir / "products").iterdir()} == {".f64"}


@pytest.mark.parametrize(
    "forged",
    [
        lambda value: {},
        lambda value: value | {"hotkeys": value["hotkeys"][::-1]},
        lambda value: value | {"hotkeys": [*value["hotkeys"], value["hotkeys"][0]]},
        lambda value: value | {"hotkeys": [*value["hotkeys"], "5Stranger"]},
        lambda value: value | {"hotkeys": [["5Nested"], 7]},
        lambda value: value | {"sha256": "../../etc/passwd"},
    ],
)
async def test_an_answer_about_products_that_cannot_be_true_is_not_believed(
    story: Story, forged: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    answer = story.pool.dispatch

    async def dispatch(unit: WorkUnit) -> ResultUnit:
        result = await answer(unit)
        if unit.handler != "weather.copies.products":
            return result
        return ResultUnit(job_id=unit.job_id, attempt=1, value=forged(result.unwrap()))

    story.pool.dispatch = dispatch
    await to_the_first_lead(story)
    for _ in range(ATTEMPTS):
        await story.task.advance(story.clock.now())

    (given_up,) = await story.rows(PRODUCTS)
    assert (given_up["sha256"], given_up["hotkeys"]) == ("", [])
    assert (await found(story)).pairs == []


async def test_a_lead_that_was_recorded_has_all_its_attempts_again(story: Story) -> None:
    disk_full(story)
    await to_the_first_lead(story)
    for _ in range(ATTEMPTS):
        await story.task.advance(story.clock.now())

    assert len(await story.rows(PRODUCTS)) == 1
    assert story.task._copies._failures == {}
