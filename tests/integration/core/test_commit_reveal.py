"""Sealed weights from the journal to the chain and back: committed, revealed, lost, sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gaia.localnet.chain.beacon import KNOWN_ROUND
from gaia.localnet.chain.node import LocalChain
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.core.consensus.watching import ConsensusWatch
from gaia.validator.core.weights.setting import WeightSetter
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import TransientError
from tests.support.fakes import FakeMetagraph
from tests.support.patience import Deadline, patience
from tests.support.signers import SignerProcess
from tests.support.subnet import MINERS, NETUID, VALIDATOR, block_time_s, neurons
from tests.support.weight_setters import NOW, FakeCopies, Setting

_TEMPO = 40
_LEAST_BLOCK_S = 0.15
"""Seconds between two blocks, at least: an epoch must last longer than a round of the beacon, which is 3 s."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK keeps caches in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    chain = LocalChain(
        neurons(),
        block_time_s=max(block_time_s(), _LEAST_BLOCK_S),
        tempo=_TEMPO,
        weights_rate_limit=1,
        commit_reveal=True,
    )
    yield chain
    await chain.stop()


class Validator:
    """A setter of weights on a real journal, a real signer and a local chain."""

    def __init__(self, database: Database, chain: LocalChain, client: SignerClient) -> None:
        self.chain = chain
        self.client = client
        self.setting = Setting(database, weights_interval_blocks=1)
        self.metagraph = FakeMetagraph(self.setting.metagraph.metagraph)
        self.setter = WeightSetter(
            self.setting.settings.chain,
            self.setting.settings.weights,
            database,
            client,
            self.metagraph,
            FakeCopies(),
            consensus=ConsensusWatch(
                client, database, self.setting.settings.netuid, self.setting.settings.weights
            ),
        )

    async def look(self) -> None:
        self.metagraph.metagraph = await self.client.read_metagraph()
        await self.setter.set_if_due(NOW)

    async def commit(self) -> dict[str, Any]:
        """Look until a vector is committed, and return its row; an epoch may end too soon for one."""
        deadline = Deadline(60.0)
        while not (rows := [row for row in await self.setting.journal() if row["state"] == "committed"]):
            assert not deadline.has_passed
            try:
                await self.look()
            except TransientError as error:
                if "epoch" not in str(error):
                    raise
        return rows[0]

    async def states(self) -> list[str]:
        return [row["state"] for row in await self.setting.journal()]

    async def until(self, epoch: int, state: str) -> dict[str, Any]:
        """Follow the commits until the vector of `epoch` is in `state`; return its row."""
        deadline = Deadline(90.0)
        while True:
            (row,) = [row for row in await self.setting.journal() if row["epoch"] == epoch]
            if row["state"] == state:
                return row
            assert row["state"] not in ("lost", "revealed"), row
            assert not deadline.has_passed, row
            await asyncio.sleep(block_time_s())
            await self.follow()

    async def follow(self) -> None:
        """Follow the commits without making another one."""
        setting = self.setting.settings.chain
        await self.setter._committer.follow(setting.netuid, 0, NOW)


@pytest.fixture
async def validator(database: Database, chain: LocalChain, signer: SignerProcess) -> AsyncIterator[Validator]:
    signer.start(await chain.start(), beacon_round=KNOWN_ROUND)
    client = SignerClient(signer.path, chain_timeout_s=patience(10.0))
    validator = Validator(database, chain, client)
    await validator.setting.record_run(
        NOW - timedelta(days=1), dict(zip(MINERS, (0.6, 0.5, 0.2), strict=True))
    )
    yield validator
    await client.close()


async def test_vector_is_committed_sealed_and_stands_once_the_chain_reveals_it(validator: Validator) -> None:
    row = await validator.commit()
    assert row["block"] is None
    assert validator.chain.weights(0) == []
    assert validator.chain.last_update(0) == row["commit_block"]
    row = await validator.until(row["epoch"], "revealed")

    assert [list(pair) for pair in validator.chain.weights(0)] == row["vector"]
    assert row["block"] > row["commit_block"]
    assert row["reveal_epoch"] == row["commit_epoch"] + 1 == row["epoch"] + 1


async def test_epoch_whose_vector_is_committed_gets_no_second_one(validator: Validator) -> None:
    row = await validator.commit()

    while (await validator.client.read_metagraph()).epoch == row["epoch"]:
        with suppress(TransientError):  # the next epoch may begin, and end too soon for a commit
            await validator.look()

    assert validator.chain.commits(row["commit_epoch"]) in ([], [(VALIDATOR, row["commit_block"])])


async def test_commit_whose_pulse_is_lost_is_named(validator: Validator) -> None:
    row = await validator.commit()
    validator.chain.beacon.lose(row["reveal_round"])
    row = await validator.until(row["epoch"], "lost")

    assert "without revealing it" in row["error"]
    assert validator.chain.weights(0) == []


async def test_same_ciphertext_is_found_on_chain_instead_of_sent_twice(validator: Validator) -> None:
    before = await validator.commit()
    async with validator.setting.database.transaction() as connection:
        await connection.execute("UPDATE weight_journal SET state = 'failed', commit_block = NULL")
    row = await validator.until(before["epoch"], "committed")

    assert row["commit_block"] == before["commit_block"]
    assert len(validator.chain.commits(row["commit_epoch"])) == 1


async def test_owner_who_ends_commit_reveal_gets_the_vectors_plainly(validator: Validator) -> None:
    await validator.commit()
    validator.chain.write_storage("CommitRevealWeightsEnabled", NETUID, value=False)
    deadline = Deadline(60.0)
    while "set" not in await validator.states():
        assert not deadline.has_passed
        try:
            await validator.look()
        except TransientError as error:
            if not any(
                word in str(error)
                for word in ("CommitRevealDisabled", "TooFast", "InvalidRevealRound", "epoch")
            ):
                raise

    assert validator.chain.weights(0) != []
