"""The story of a population in which one miner copies another, under rules that look for that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.tasks.defined_tasks.weather.copies.copy_book import CopyBook
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import GaiaError, TransientError
from gaia.validator.utils.ipc_types import Failure, ResultUnit, WorkUnit
from tests.support.story import INIT, Story

PRODUCTS = "SELECT run_id, lead_hours, sha256, hotkeys FROM gram_matrices ORDER BY lead_hours"


def a_story(database: Database, tmp_path: Path, **changes: Any) -> Story:
    """A story of five miners, the last of which publishes the forecast of the second."""
    story = Story(database, tmp_path, count=5)
    story.miners[4].copies = story.miners[1]
    story.settings = story.settings.model_copy(update={"rule_set": "gaia-next", **changes})
    story.task = story.new_task()
    return story


def files(story: Story, folder: str) -> list[Path]:
    return sorted(path for path in (story.settings.data_dir / folder).rglob("*") if path.is_file())


async def found(
    story: Story,
    earning: list[str] | None = None,
    names: Mapping[str, str] = MappingProxyType({}),
) -> FoundCopies:
    """What is known of the story's miners in its first run, at this moment."""
    hotkeys = [names.get(miner.hotkey, miner.hotkey) for miner in story.miners]
    finder = CopyBook(story.settings.weather, story.database, story.pool)
    run = "2026-03-25T00Z"
    return await finder.find({run: hotkeys}, earning or hotkeys, {run: names} if names else {})


def disk_full(story: Story, error: type[GaiaError] = TransientError) -> None:
    """No products can be made."""
    answer = story.pool.dispatch

    async def dispatch(unit: WorkUnit) -> ResultUnit:
        if unit.handler == "weather.copies.products":
            return ResultUnit(job_id=unit.job_id, attempt=1, failure=Failure.of(error("disk full")))
        return await answer(unit)

    story.pool.dispatch = dispatch


async def to_the_first_lead(story: Story) -> None:
    await story.until(INIT + timedelta(hours=24, days=5) + timedelta(hours=6))
