"""The half of the engine that meets the chain: metagraph and weights, on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.validator.core.chain.metagraph import MetagraphKeeper
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.core.consensus.watching import ConsensusWatch
from gaia.validator.core.incidents import Incident
from gaia.validator.core.task_orchestrator import TaskOrchestrator
from gaia.validator.core.weights.setting import WeightSetter
from gaia.validator.db.connection import Database
from gaia.validator.utils.settings.chain import ChainSettings
from gaia.validator.utils.settings.weights import WeightsSettings
from tests.support.fakes import FakeClock
from tests.support.patience import patience

NOW = datetime(2026, 4, 10, tzinfo=UTC)
PATIENCE_S = 30.0


class NoCopies:
    async def find(self, members: Any, earning: Any, renamed: Any) -> FoundCopies:
        return FoundCopies(pairs=(), committed={}, products=())


class HalfValidator:
    """The half of the engine that meets the chain, on a database with one scored run."""

    def __init__(self, database: Database, client: SignerClient) -> None:
        self.database = database
        self.keeper = MetagraphKeeper(client)
        self.setter = WeightSetter(
            ChainSettings(),
            WeightsSettings(weights_interval_blocks=1),
            database,
            client,
            self.keeper,
            NoCopies(),
            consensus=ConsensusWatch(client, database, ChainSettings().netuid, WeightsSettings()),
        )
        self.orchestrator = TaskOrchestrator(
            FakeClock(NOW),
            [],
            self.keeper,
            self.setter,
            Incident(database, "chain"),
            _ignore,
            tick_interval_s=0.1,
            metagraph_interval_s=0.1,
            drain_timeout_s=60.0,
        )
        self.stop = asyncio.Event()
        self.running: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        await self.keeper.first(patience(PATIENCE_S))
        self.running = asyncio.create_task(self.orchestrator.run(self.stop))

    async def end(self) -> None:
        self.stop.set()
        assert self.running is not None
        await asyncio.wait_for(self.running, patience(PATIENCE_S))

    async def rows(self, statement: str) -> list[dict[str, Any]]:
        async with self.database.transaction() as connection:
            return [dict(row) for row in await connection.fetch(statement)]

    async def until(
        self, statement: str, meets: Callable[[list[dict[str, Any]]], bool]
    ) -> list[dict[str, Any]]:
        async with asyncio.timeout(patience(PATIENCE_S)):
            while not meets(rows := await self.rows(statement)):
                assert self.running is None or not self.running.done(), self.running
                await asyncio.sleep(0.02)
        return rows

    async def until_set(self) -> dict[str, Any]:
        (row,) = await self.until(
            "SELECT * FROM weight_journal", lambda rows: bool(rows) and rows[0]["state"] == "set"
        )
        return row


def _ignore(kind: str) -> None:
    return
