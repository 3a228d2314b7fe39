"""A miner that swaps its hotkey while a run is open is asked and fetched under its new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bittensor_core import Keypair
from msgspec import structs

from gaia.tasks.defined_tasks.weather.wire.manifest import build_manifest
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path, metadata_path
from gaia.validator.db.connection import Database
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.identities import Hotkey
from tests.support.fakes import FIELDS, LEADS, FakeMetagraph, FakeMiner
from tests.support.story import INIT, Story

_OPENED = INIT.replace(hour=18)
_NEW = Keypair.create_from_uri("//Miner/swapped")


def _swap(story: Story, miner: FakeMiner, **changes: Any) -> None:
    """Give the miner's slot to its new hotkey, and answer under that alone; each reading is of a later block."""
    graph = structs.replace(story.metagraph.metagraph, block=2000)
    story.metagraph = Later(graph)
    story.task = story.new_task()
    neurons = [
        structs.replace(neuron, hotkey=Hotkey(_NEW.ss58_address), **changes)
        if neuron.hotkey == miner.hotkey
        else neuron
        for neuron in graph.neurons
    ]
    story.metagraph.metagraph = structs.replace(graph, neurons=neurons)
    story.miners_client.move(miner.hotkey, _NEW.ss58_address)


class Later(FakeMetagraph):
    """A metagraph of which each look is a later reading."""

    def latest(self) -> Metagraph:
        self.metagraph = structs.replace(self.metagraph, block=self.metagraph.block + 1)
        return self.metagraph


def _signing_anew(miner: FakeMiner) -> None:
    """Let the miner sign its manifests with its new hotkey."""
    paths = [metadata_path(field) for field in FIELDS]
    paths += [chunk_path(field, lead, 6) for field in FIELDS for lead in [6, 12, *LEADS]]
    files = {path: miner.digest_of(path) for path in paths}
    miner.manifest = build_manifest(_NEW.ss58_address, files)
    miner.key = _NEW


async def _signers(story: Story) -> list[Any]:
    rows = await story.rows("SELECT signed_by FROM forecasts ORDER BY uid")
    return [row["signed_by"] for row in rows]


@pytest.fixture
async def story(database: Database, tmp_path: Path) -> Story:
    story = Story(database, tmp_path)
    await story.clock.idle_until(_OPENED)
    assert await story.task.open_due_runs(story.clock.now())
    return story


async def test_frozen_forecast_is_scored_to_its_end_after_a_swap(story: Story) -> None:
    miner = story.miners[1]
    await story.until(INIT.replace(hour=22))
    assert (await story.outcome(miner))["state"] == "scored_day1"

    _swap(story, miner)
    await story.until_idle()

    outcome = await story.outcome(miner)
    assert (outcome["state"], sorted(outcome["leads"], key=int)) == ("scored", [str(lead) for lead in LEADS])
    assert await _signers(story) == [None] * 3


@pytest.mark.parametrize("doubt", ["one block", "nodes disagree"])
async def test_swap_that_is_not_confirmed_lets_nobody_else_sign(story: Story, doubt: str) -> None:
    miner = story.miners[1]
    _swap(story, miner)
    _signing_anew(miner)
    graph = story.metagraph.metagraph
    story.metagraph = (
        FakeMetagraph(graph) if doubt == "one block" else Later(structs.replace(graph, is_confirmed=False))
    )
    story.task = story.new_task()

    for _ in range(5):
        await story.task.advance(story.clock.now())

    assert (await story.outcome(miner))["state"] == "planned"
    assert miner.requests == 0


@pytest.mark.parametrize("signs_anew", [True, False])
async def test_manifest_may_be_signed_by_either_hotkey_after_a_swap(story: Story, signs_anew: bool) -> None:
    miner = story.miners[1]
    _swap(story, miner)
    if signs_anew:
        _signing_anew(miner)

    await story.until_idle()

    assert (await story.outcome(miner))["state"] == "scored"
    assert await _signers(story) == [None, _NEW.ss58_address if signs_anew else None, None]


async def test_newcomer_in_the_slot_delivers_nothing_in_the_miners_name(story: Story) -> None:
    miner = story.miners[1]
    _swap(story, miner, registered_at=990)
    _signing_anew(miner)

    await story.until_idle()

    assert (await story.outcome(miner))["state"] == "rejected"
    assert miner.requests == 0
