"""A validator that lost its place on the subnet waits, and no miner pays for it."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from gaia.validator.db.connection import Database
from tests.support.story import INIT, Story

OPENED = INIT.replace(hour=18)


async def _states(story: Story) -> list[str]:
    return [(await story.outcome(miner))["state"] for miner in story.miners]


async def test_validator_that_is_not_registered_asks_nobody_and_rejects_nobody(
    database: Database, tmp_path: Path
) -> None:
    story = Story(database, tmp_path)
    ours = story.metagraph.metagraph
    story.metagraph.metagraph = structs.replace(ours, own_uid=None)
    for miner in story.miners:
        miner.accepts = False
    await story.clock.idle_until(OPENED)
    await story.task.advance(story.clock.now())
    assert await story.rows("SELECT run_id FROM runs") == []

    story.metagraph.metagraph = ours
    assert await story.task.open_due_runs(story.clock.now())
    story.metagraph.metagraph = structs.replace(ours, own_uid=None)
    await story.task.advance(story.clock.now())
    assert await _states(story) == ["planned"] * 3

    story.metagraph.metagraph = ours
    for miner in story.miners:
        miner.accepts = True
    await story.until_idle()
    assert await _states(story) == ["scored"] * 3
