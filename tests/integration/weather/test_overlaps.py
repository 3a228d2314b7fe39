"""Who shares work is told once the products of all leads are there, or cannot be had."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gaia.tasks.defined_tasks.weather.copies import copy_book as book
from gaia.tasks.defined_tasks.weather.copies.copy_book import ATTEMPTS, CopyBook
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import (
    GaiaError,
    MinerFault,
    NotYetAvailable,
    QuarantinedError,
    TransientError,
)
from gaia.validator.utils.ipc_types import ResultUnit, WorkUnit
from tests.support.copies import PRODUCTS, a_story, disk_full, files, found, to_the_first_lead
from tests.support.story import INIT, Story


@pytest.fixture
def story(database: Database, tmp_path: Path) -> Story:
    return a_story(database, tmp_path)


async def test_a_copy_is_found_and_nobody_else(story: Story) -> None:
    await story.until_idle()

    ((one, other, part),) = (await found(story)).pairs

    assert {one, other} == {story.miners[1].hotkey, story.miners[4].hotkey}
    assert part == 1.0


@pytest.mark.parametrize("error", [TransientError, QuarantinedError, MinerFault])
async def test_overlaps_are_not_told_while_products_are_awaited(story: Story, error: type[GaiaError]) -> None:
    disk_full(story, error)
    due = INIT + timedelta(hours=24, days=5) + timedelta(hours=6)
    await story.until(due)
    await story.task.advance(story.clock.now())

    with pytest.raises(NotYetAvailable, match="is not computed yet"):
        await found(story)

    for _ in range(ATTEMPTS - 1):
        await story.task.advance(story.clock.now())
    (given_up,) = await story.rows(PRODUCTS)
    assert (given_up["sha256"], given_up["hotkeys"]) == ("", [])
    assert (await found(story)).pairs == []
    assert (await found(story)).products == []


async def test_all_who_are_found_ready_in_one_round_are_bound_at_once(story: Story) -> None:
    for miner, polls in zip(story.miners, (0, 0, 2, 2, 3), strict=True):
        miner.polls_until_ready = polls

    await story.until_idle()

    committed = (await found(story)).committed
    assert [committed[miner.hotkey] for miner in story.miners] == [0, 0, 2, 2, 3]


async def forget_contents(story: Story) -> None:
    """Leave rows as an earlier release wrote them."""
    await story.rows("UPDATE gram_matrices SET content = NULL RETURNING sha256")


async def test_products_that_are_damaged_or_gone_are_written_anew(story: Story) -> None:
    await story.until_idle()
    before = {path: path.read_bytes() for path in files(story, "products")}
    damaged, gone = before
    damaged.write_bytes(before[damaged][:-8] + bytes(8))
    gone.unlink()

    overlap = await found(story)

    assert (len(overlap.pairs), len(overlap.products)) == (1, 2)
    assert {path: path.read_bytes() for path in files(story, "products")} == before


async def test_products_of_an_earlier_release_are_kept_in_the_database_with_the_next_lead(
    story: Story,
) -> None:
    await to_the_first_lead(story)
    await forget_contents(story)

    await story.until_idle()

    rows = await story.rows("SELECT sha256, content FROM gram_matrices")
    assert len(rows) == 2
    assert all(hashlib.sha256(row["content"]).hexdigest() == row["sha256"] for row in rows)


async def test_products_that_only_damaged_files_hold_are_told_and_left_out(story: Story) -> None:
    await story.until_idle()
    await forget_contents(story)
    for path in files(story, "products"):
        path.write_bytes(Path(path).read_bytes()[:-8])

    overlap = await found(story)

    assert (overlap.pairs, overlap.products) == ([], [])


async def test_overlaps_wait_an_hour_for_products_and_are_then_told_without_them(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "ATTEMPTS", 10**6)
    disk_full(story)
    await to_the_first_lead(story)
    await story.task.advance(story.clock.now())
    now = [1e9]
    finder = CopyBook(story.settings.weather, story.database, story.pool, lambda: now[0])
    hotkeys = [miner.hotkey for miner in story.miners]

    for now[0] in (1e9, 1e9 + book.PATIENCE_S - 1):
        with pytest.raises(NotYetAvailable, match="is not computed yet"):
            await finder.find({"2026-03-25T00Z": hotkeys}, hotkeys, {})
    now[0] = 1e9 + book.PATIENCE_S
    with capture_logs() as logs:
        for _ in range(2):
            assert (await finder.find({"2026-03-25T00Z": hotkeys}, hotkeys, {})).products == []

    loud = [(entry["event"], entry["log_level"]) for entry in logs if entry["log_level"] != "info"]
    assert loud == [("gram_matrix_overdue", "error")]


async def test_products_that_come_back_are_used_again(story: Story) -> None:
    await story.until_idle()
    await forget_contents(story)
    hotkeys = [miner.hotkey for miner in story.miners]
    finder = CopyBook(story.settings.weather, story.database, story.pool)
    away = story.settings.data_dir / "products" / "away"
    away.mkdir()
    for path in (story.settings.data_dir / "products").glob("*.f64"):
        path.rename(away / path.name)
    assert (await finder.find({"2026-03-25T00Z": hotkeys}, hotkeys, {})).pairs == []

    for path in away.iterdir():
        path.rename(away.parent / path.name)

    assert len((await finder.find({"2026-03-25T00Z": hotkeys}, hotkeys, {})).pairs) == 1


async def test_swapped_hotkey_keeps_what_it_shares_and_when_it_committed(story: Story) -> None:
    await story.until_idle()
    (one, other, part) = (await found(story)).pairs[0]
    committed = (await found(story)).committed

    later = await found(story, names={one: "5Swapped"})

    assert {frozenset(pair[:2]): pair[2] for pair in later.pairs} == {frozenset({"5Swapped", other}): part}
    assert later.committed == {
        "5Swapped" if hotkey == one else hotkey: at for hotkey, at in committed.items()
    }


async def test_hotkey_that_a_miner_swapped_for_brings_no_evidence_of_an_earlier_miner(story: Story) -> None:
    """The new name belonged to a miner that was asked in the same run, and left the subnet since."""
    await story.until_idle()
    (one, other, part) = (await found(story)).pairs[0]
    committed = (await found(story)).committed
    left = next(miner.hotkey for miner in story.miners if miner.hotkey not in (one, other))
    earning = [hotkey for hotkey in (miner.hotkey for miner in story.miners) if hotkey != one]

    later = await found(story, earning, {one: left})

    assert {frozenset(pair[:2]): pair[2] for pair in later.pairs} == {frozenset({left, other}): part}
    assert later.committed[left] == committed[one]


async def test_units_about_copies_go_before_the_scoring_of_forecasts(story: Story) -> None:
    await story.until_idle()
    await found(story)

    def priorities(prefix: str) -> set[int]:
        return {unit.priority for unit in story.pool.units if unit.handler.startswith(prefix)}

    assert max(priorities("weather.copies.")) < min(priorities("weather.score."))


@pytest.mark.parametrize("forged", [{}, {"pairs": [["5Only"]], "missing": []}, {"pairs": 3, "missing": None}])
async def test_an_answer_that_is_not_one_of_overlaps_is_asked_for_again(
    story: Story, forged: dict[str, Any]
) -> None:
    await story.until_idle()
    finder = CopyBook(story.settings.weather, story.database, story.pool)
    hotkeys = [miner.hotkey for miner in story.miners]
    answer = story.pool.dispatch

    async def dispatch(unit: WorkUnit) -> ResultUnit:
        return ResultUnit(job_id=unit.job_id, attempt=1, value=forged)

    story.pool.dispatch = dispatch
    with pytest.raises(TransientError, match="weather.copies.overlaps has the wrong type"):
        await finder.find({"2026-03-25T00Z": hotkeys}, hotkeys, {})

    story.pool.dispatch = answer
    assert len((await finder.find({"2026-03-25T00Z": hotkeys}, hotkeys, {})).pairs) == 1
