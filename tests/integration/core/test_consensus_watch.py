"""What each epoch gave us is stored once, and weights that cost trust are told before they are set."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from gaia.validator.core.consensus.watching import ConsensusWatch
from gaia.validator.db import history
from gaia.validator.db.connection import Database
from gaia.validator.utils.chain.consensus import ConsensusView, Prediction
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.settings.weights import WeightsSettings
from tests.support.builders import a_consensus_view, a_metagraph, a_neuron

NOW = datetime(2026, 4, 10, 12, tzinfo=UTC)
OURS = a_neuron(0, hotkey="5Validator", validator_permit=True)
VECTOR = [[1, 65535]]


class _Chain:
    """Answers each request with the next view; the last one stays."""

    def __init__(self, *views: ConsensusView | Exception) -> None:
        self.views = list(views)
        self.asked: list[Any] = []

    async def read_consensus(self, proposed: Sequence[Sequence[int]] | None = None) -> ConsensusView:
        self.asked.append(proposed)
        view = self.views.pop(0) if len(self.views) > 1 else self.views[0]
        if isinstance(view, Exception):
            raise view
        return view


def _watch(database: Database, chain: Any, **changes: Any) -> ConsensusWatch:
    return ConsensusWatch(chain, database, 57, WeightsSettings(), **changes)


def _view(epoch: int, last: float, standing: float, proposed: float | None = None) -> ConsensusView:
    return a_consensus_view(
        epoch=epoch,
        validator_trust=last,
        standing=Prediction(validator_trust=standing, dividends=0.2),
        proposed=None if proposed is None else Prediction(validator_trust=proposed, dividends=0.2),
    )


async def _days(database: Database) -> list[tuple[str, int, float, float, float]]:
    async with database.transaction() as connection:
        rows = await history.consensus_days(connection, 57, "5Validator", 7)
    return [
        (row.day.isoformat(), row.epochs, round(row.validator_trust, 9), row.least_trust, row.emission)
        for row in rows
    ]


async def _incidents(database: Database) -> dict[str, str]:
    async with database.transaction() as connection:
        return {row.party: row.evidence for row in await history.incidents(connection)}


async def test_each_epoch_is_read_and_stored_once(database: Database) -> None:
    chain = _Chain(_view(2, 0.9, 0.9), _view(3, 0.5, 0.9))
    watch = _watch(database, chain)

    for epoch in (2, 2, 3, 3):
        await watch.refresh(a_metagraph([OURS], epoch=epoch), NOW)

    assert len(chain.asked) == 2
    assert await _days(database) == [("2026-04-10", 2, 0.7, 0.5, 72.0)]


async def test_second_reading_of_an_epoch_changes_nothing(database: Database) -> None:
    await _watch(database, _Chain(_view(2, 0.9, 0.9))).refresh(a_metagraph([OURS], epoch=2), NOW)
    later = NOW + timedelta(days=1)
    await _watch(database, _Chain(_view(2, 0.1, 0.9))).refresh(a_metagraph([OURS], epoch=2), later)
    await _watch(database, _Chain(_view(3, 0.4, 0.9))).refresh(a_metagraph([OURS], epoch=3), later)

    assert await _days(database) == [("2026-04-10", 1, 0.9, 0.9, 36.0), ("2026-04-11", 1, 0.4, 0.4, 36.0)]


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(None, id="no metagraph yet"),
        pytest.param(a_metagraph([OURS], own_uid=None), id="not registered"),
        pytest.param(a_metagraph([OURS], next_epoch_block=None), id="a subnet without epochs"),
    ],
)
async def test_nothing_is_read_where_there_is_nothing_to_read(database: Database, graph: Any) -> None:
    chain = _Chain(_view(2, 0.9, 0.9))
    watch = _watch(database, chain)

    await watch.refresh(graph, NOW)

    assert not chain.asked
    assert watch.latest(a_metagraph([OURS])) is None


async def test_vector_that_costs_trust_is_told_and_one_that_restores_it_ends_that(database: Database) -> None:
    chain = _Chain(_view(2, 0.9, 0.9, 0.7), _view(3, 0.7, 0.7, 0.95))
    watch = _watch(database, chain)

    with capture_logs() as lines:
        await watch.judge(VECTOR, NOW)
    told = await _incidents(database)
    await watch.judge(VECTOR, NOW)

    assert chain.asked == [VECTOR, VECTOR]
    assert [line["event"] for line in lines] == ["incident_began"]
    assert "vtrust of 0.700 instead of 0.900" in told["consensus"]
    assert not await _incidents(database)
    assert watch.latest(a_metagraph([OURS], epoch=3)) == _view(3, 0.7, 0.7, 0.95)


async def test_old_view_is_shown_to_nobody(database: Database) -> None:
    watch = _watch(database, _Chain(_view(2, 0.9, 0.9)))
    await watch.refresh(a_metagraph([OURS], epoch=2), NOW)

    assert watch.latest(a_metagraph([OURS], epoch=3)) is not None
    assert watch.latest(a_metagraph([OURS], epoch=4)) is None
    assert watch.latest(a_metagraph([OURS], epoch=3, own_uid=None)) is None
    assert watch.latest(None) is None


async def test_last_block_of_an_epoch_is_not_taken_for_the_next_one(database: Database) -> None:
    """It tells the number of the next epoch, with the values of the one before."""
    chain = _Chain(msgspec.structs.replace(_view(3, 0.9, 0.9), block=1079), _view(3, 0.5, 0.9))
    watch = _watch(database, chain)

    await watch.refresh(a_metagraph([OURS], epoch=3, block=1079, next_epoch_block=1080), NOW)
    assert not chain.asked
    await watch.judge(VECTOR, NOW)
    assert await _days(database) == []
    # It is not known yet, so it is read again.
    await watch.refresh(a_metagraph([OURS], epoch=3, block=1080, next_epoch_block=1440), NOW)

    assert await _days(database) == [("2026-04-10", 1, 0.5, 0.5, 36.0)]


async def test_prediction_of_a_new_vector_is_not_lost_to_a_slower_reading(database: Database) -> None:
    answer = asyncio.Event()

    class Slow:
        async def read_consensus(self, proposed: Any = None) -> ConsensusView:
            if proposed is None:
                await answer.wait()
                return _view(2, 0.9, 0.9)
            return _view(2, 0.9, 0.9, 0.4)

    watch = _watch(database, Slow())
    slower = asyncio.create_task(watch.refresh(a_metagraph([OURS], epoch=2), NOW))
    await asyncio.sleep(0)
    await watch.judge(VECTOR, NOW)
    answer.set()
    await slower

    found = watch.latest(a_metagraph([OURS], epoch=2))
    assert found is not None
    assert found.next.validator_trust == 0.4


async def test_small_loss_is_no_incident(database: Database) -> None:
    await _watch(database, _Chain(_view(2, 0.9, 0.9, 0.81))).judge(VECTOR, NOW)

    assert not await _incidents(database)


async def test_low_trust_stays_told_for_as_long_as_the_usual_one_was_higher(database: Database) -> None:
    for epoch in range(2, 7):
        before = _watch(database, _Chain(_view(epoch, 0.9, 0.9)))
        await before.refresh(a_metagraph([OURS], epoch=epoch), NOW)

    # A new process, and the chain already counts the weights that cost the trust.
    await _watch(database, _Chain(_view(7, 0.6, 0.6, 0.6))).judge(VECTOR, NOW)

    assert "vtrust of 0.600 instead of 0.900" in (await _incidents(database))["consensus"]


@pytest.mark.parametrize("failure", [TransientError("no answer"), "silence"])
async def test_chain_that_does_not_tell_delays_no_weights(database: Database, failure: Any) -> None:
    class Silent:
        async def read_consensus(self, proposed: Any = None) -> ConsensusView:
            await asyncio.Event().wait()
            raise AssertionError

    chain: Any = Silent() if failure == "silence" else _Chain(failure)
    watch = _watch(database, chain, patience_s=0.01)

    with capture_logs() as lines:
        await watch.judge(VECTOR, NOW)

    assert [line["event"] for line in lines] == ["trust_not_predicted"]
    assert not await _incidents(database)
    with pytest.raises(TransientError):
        await watch.refresh(a_metagraph([OURS], epoch=2), NOW)
    await watch.refresh(a_metagraph([OURS], epoch=2), NOW)  # a minute must pass before it is read again
