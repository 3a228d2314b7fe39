"""Errors of a lead's forecasts are multiplied once the lead is settled, whoever is killed when."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gaia.tasks.defined_tasks.weather.copies import copy_book as book
from gaia.tasks.defined_tasks.weather.copies.copy_book import ATTEMPTS, CopyBook
from gaia.validator.db import gram_matrices
from gaia.validator.utils.errors import MinerFault, NotYetAvailable, QuarantinedError, TransientError
from gaia.validator.utils.ipc_types import Failure, ResultUnit
from tests.support.fakes import LEADS
from tests.support.story import INIT, Story

PRODUCTS = "SELECT run_id, lead_hours, sha256, hotkeys FROM gram_matrices ORDER BY lead_hours"


class Killed(BaseException):
    """The engine dies here."""


def a_story(database, tmp_path, **changes):
    story = Story(database, tmp_path, count=5)
    story.miners[4].copies = story.miners[1]
    story.settings = story.settings.model_copy(update={"rule_set": "gaia-next", **changes})
    story.task = story.new_task()
    return story


@pytest.fixture
def story(database, tmp_path):
    return a_story(database, tmp_path)


def files(story, folder):
    return sorted(path for path in (story.settings.data_dir / folder).rglob("*") if path.is_file())


async def found(story, earning=None):
    hotkeys = [miner.hotkey for miner in story.miners]
    finder = CopyBook(story.settings.weather, story.database, story.pool)
    return await finder.find({"2026-03-25T00Z": hotkeys}, earning or hotkeys)


def disk_full(story, error=TransientError):
    """No products can be made."""
    answer = story.pool.dispatch_and_wait

    async def dispatch(unit):
        if unit.handler == "weather.copies.products":
            return ResultUnit(job_id=unit.job_id, attempt=1, failure=Failure.of(error("disk full")))
        return await answer(unit)

    story.pool.dispatch_and_wait = dispatch


async def test_every_settled_lead_has_products_and_its_sketches_are_gone(story):
    await story.until_idle()

    rows = await story.rows(PRODUCTS)
    assert [row["lead_hours"] for row in rows] == LEADS
    assert rows[0]["hotkeys"] == sorted(miner.hotkey for miner in story.miners)
    assert files(story, "sketches") == []
    assert {path.name for path in files(story, "products")} == {f"{row['sha256']}.f64" for row in rows}


async def test_a_copy_is_found_and_nobody_else(story):
    await story.until_idle()

    ((one, other, part),) = (await found(story)).pairs

    assert {one, other} == {story.miners[1].hotkey, story.miners[4].hotkey}
    assert part == 1.0


async def test_rules_that_look_for_no_copies_make_nothing(database, tmp_path):
    story = a_story(database, tmp_path, rule_set="gaia-2.9")

    await story.until_idle()

    assert await story.rows(PRODUCTS) == []
    assert not any((tmp_path / folder).exists() for folder in ("sketches", "products"))
    assert not any("sketch" in str(unit.payload) for unit in story.pool.units)


async def test_shadow_rules_make_no_sketches(database, tmp_path):
    story = a_story(database, tmp_path, rule_set="gaia-2.9", shadow_rule_set="gaia-next")

    await story.until_idle()

    assert not (tmp_path / "sketches").exists()


async def test_what_a_lead_was_given_says_nothing_of_sketches(story):
    await story.until_idle()

    assert "sketch" not in str(await story.rows("SELECT payload FROM lead_inputs"))


async def test_a_lead_waits_for_the_miner_that_is_late(story):
    story.miners[2].offline_leads = {24}
    due = INIT + timedelta(hours=24, days=5) + timedelta(hours=6)

    await story.until(due)
    await story.task.advance(story.clock.now())

    assert await story.rows(PRODUCTS) == []
    assert len(files(story, "sketches")) == 4 + 1

    await story.until_idle()

    (first, _) = await story.rows(PRODUCTS)
    assert story.miners[2].hotkey not in first["hotkeys"]


@pytest.mark.parametrize("error", [TransientError, QuarantinedError, MinerFault])
async def test_overlaps_are_not_told_while_products_are_awaited(story, error):
    disk_full(story, error)
    due = INIT + timedelta(hours=24, days=5) + timedelta(hours=6)
    await story.until(due)
    await story.task.advance(story.clock.now())

    with pytest.raises(NotYetAvailable, match="still to be made"):
        await found(story)

    for _ in range(ATTEMPTS - 1):
        await story.task.advance(story.clock.now())
    (given_up,) = await story.rows(PRODUCTS)
    assert (given_up["sha256"], given_up["hotkeys"]) == ("", [])
    assert (await found(story)).pairs == []
    assert (await found(story)).products == []


def die_at(monkeypatch, story, step):
    """Let the engine die once, at a step of the way from sketches to products."""

    def once(function, *, after):
        state = iter([True])

        async def dying(*arguments, **named):
            if next(state, False):
                if after:
                    await function(*arguments, **named)
                raise Killed
            return await function(*arguments, **named)

        return dying

    match step:
        case "sketched":
            story.pool.dispatch_and_wait = dispatch_dying(story.pool, "weather.score.batch")
        case "multiplied":
            story.pool.dispatch_and_wait = dispatch_dying(story.pool, "weather.copies.products")
        case "before recording" | "uncommitted":
            recording = once(gram_matrices.record_matrix, after=step == "uncommitted")
            monkeypatch.setattr(gram_matrices, "record_matrix", recording)
        case "recorded":
            monkeypatch.setattr(book.asyncio, "to_thread", once(book.asyncio.to_thread, after=False))
        case "forgetting":
            forgetting = once(gram_matrices.forget_matrices, after=True)
            monkeypatch.setattr(gram_matrices, "forget_matrices", forgetting)


def dispatch_dying(pool, handler):
    """The unit is done, and nobody is there to hear of it."""
    answer, left = pool.dispatch_and_wait, itertools.count()

    async def dispatch(unit):
        result = await answer(unit)
        if unit.handler == handler and unit.payload.get("lead_hours", 24) == 24 and next(left) == 0:
            raise Killed
        return result

    return dispatch


@pytest.mark.parametrize(
    "step", ["sketched", "multiplied", "before recording", "uncommitted", "recorded", "forgetting"]
)
async def test_a_killed_engine_ends_in_the_same_products(story, monkeypatch, tmp_path, step):
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


async def test_products_leave_a_day_after_their_run_has_left_the_window(database, tmp_path):
    story = a_story(database, tmp_path, last_run=INIT + timedelta(days=2), weights_window_days=0.5)

    await story.until_idle()

    rows = await story.rows(PRODUCTS)
    assert sorted(row["run_id"] for row in rows) == ["2026-03-26T00Z"] * 2 + ["2026-03-27T00Z"] * 2
    assert {path.name for path in files(story, "products")} == {f"{row['sha256']}.f64" for row in rows}


async def test_left_over_drafts_and_sketches_of_closed_runs_are_removed(story):
    draft = story.settings.data_dir / "products" / "abc.77.part"
    stray = story.settings.data_dir / "sketches" / "2026-01-01T00Z" / "24" / "5Gone.f32"
    for path in (draft, stray):
        path.parent.mkdir(parents=True)
        path.write_text("left over")

    await story.until_idle()

    assert not draft.exists()
    assert not stray.parent.parent.exists()


async def test_all_who_are_found_ready_in_one_round_are_bound_at_once(story):
    for miner, polls in zip(story.miners, (0, 0, 2, 2, 3), strict=True):
        miner.polls_until_ready = polls

    await story.until_idle()

    committed = (await found(story)).committed
    assert [committed[miner.hotkey] for miner in story.miners] == [0, 0, 2, 2, 3]


async def test_products_that_are_damaged_are_told_and_left_out(story):
    await story.until_idle()
    for path in files(story, "products"):
        path.write_bytes(Path(path).read_bytes()[:-8])

    overlap = await found(story)

    assert (overlap.pairs, overlap.products) == ([], [])


async def to_the_first_lead(story):
    await story.until(INIT + timedelta(hours=24, days=5) + timedelta(hours=6))


async def test_a_run_that_breaks_at_each_tick_does_not_keep_its_leads_from_being_settled(story, monkeypatch):
    await to_the_first_lead(story)

    async def broken(run, now):
        raise RuntimeError("a bug")

    monkeypatch.setattr(story.task, "complete", broken)

    with pytest.raises(RuntimeError, match="a bug"):
        await story.task.advance(story.clock.now())

    assert [row["lead_hours"] for row in await story.rows(PRODUCTS)] == [24]


async def test_each_run_is_settled_before_the_next_one_is_scored(database, tmp_path):
    story = a_story(database, tmp_path, last_run=INIT + timedelta(days=1))
    both_due = INIT + timedelta(hours=48, days=5) + timedelta(hours=6)
    at_once = []
    story.pool.interrupt = lambda unit: at_once.append({path.parent for path in files(story, "sketches")})

    await story.until(both_due)
    assert len(await story.rows(PRODUCTS)) == 1
    await story.task.advance(story.clock.now())

    assert len(await story.rows(PRODUCTS)) == 3
    assert max(map(len, at_once)) == 1


async def test_overlaps_wait_an_hour_for_products_and_are_then_told_without_them(story, monkeypatch):
    monkeypatch.setattr(book, "ATTEMPTS", 10**6)
    disk_full(story)
    await to_the_first_lead(story)
    await story.task.advance(story.clock.now())
    now = [1e9]
    finder = CopyBook(story.settings.weather, story.database, story.pool, lambda: now[0])
    hotkeys = [miner.hotkey for miner in story.miners]

    for now[0] in (1e9, 1e9 + book.PATIENCE_S - 1):
        with pytest.raises(NotYetAvailable, match="still to be made"):
            await finder.find({"2026-03-25T00Z": hotkeys}, hotkeys)
    now[0] = 1e9 + book.PATIENCE_S
    with capture_logs() as logs:
        for _ in range(2):
            assert (await finder.find({"2026-03-25T00Z": hotkeys}, hotkeys)).products == []

    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("gram_matrix_overdue", "error")]


async def test_what_a_hostile_worker_leaves_in_the_folders_stops_nothing_and_is_told_once(story, tmp_path):
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
async def test_an_answer_about_products_that_cannot_be_true_is_not_believed(story, forged):
    answer = story.pool.dispatch_and_wait

    async def dispatch(unit):
        result = await answer(unit)
        if unit.handler != "weather.copies.products":
            return result
        return ResultUnit(job_id=unit.job_id, attempt=1, value=forged(result.unwrap()))

    story.pool.dispatch_and_wait = dispatch
    await to_the_first_lead(story)
    for _ in range(ATTEMPTS):
        await story.task.advance(story.clock.now())

    (given_up,) = await story.rows(PRODUCTS)
    assert (given_up["sha256"], given_up["hotkeys"]) == ("", [])
    assert (await found(story)).pairs == []


async def test_a_lead_that_was_recorded_has_all_its_attempts_again(story):
    disk_full(story)
    await to_the_first_lead(story)
    for _ in range(ATTEMPTS):
        await story.task.advance(story.clock.now())

    assert len(await story.rows(PRODUCTS)) == 1
    assert story.task._copies._failures == {}


async def test_products_that_come_back_are_used_again(story):
    await story.until_idle()
    hotkeys = [miner.hotkey for miner in story.miners]
    finder = CopyBook(story.settings.weather, story.database, story.pool)
    away = story.settings.data_dir / "products" / "away"
    away.mkdir()
    for path in (story.settings.data_dir / "products").glob("*.f64"):
        path.rename(away / path.name)
    assert (await finder.find({"2026-03-25T00Z": hotkeys}, hotkeys)).pairs == []

    for path in away.iterdir():
        path.rename(away.parent / path.name)

    assert len((await finder.find({"2026-03-25T00Z": hotkeys}, hotkeys)).pairs) == 1


async def test_units_about_copies_go_before_the_scoring_of_forecasts(story):
    await story.until_idle()
    await found(story)

    def priorities(prefix):
        return {unit.priority for unit in story.pool.units if unit.handler.startswith(prefix)}

    assert max(priorities("weather.copies.")) < min(priorities("weather.score."))


@pytest.mark.parametrize("forged", [{}, {"pairs": [["5Only"]], "missing": []}, {"pairs": 3, "missing": None}])
async def test_an_answer_that_is_not_one_of_overlaps_is_asked_for_again(story, forged):
    await story.until_idle()
    finder = CopyBook(story.settings.weather, story.database, story.pool)
    hotkeys = [miner.hotkey for miner in story.miners]
    answer = story.pool.dispatch_and_wait

    async def dispatch(unit):
        return ResultUnit(job_id=unit.job_id, attempt=1, value=forged)

    story.pool.dispatch_and_wait = dispatch
    with pytest.raises(TransientError, match="not one to weather.copies.overlaps"):
        await finder.find({"2026-03-25T00Z": hotkeys}, hotkeys)

    story.pool.dispatch_and_wait = answer
    assert len((await finder.find({"2026-03-25T00Z": hotkeys}, hotkeys)).pairs) == 1
