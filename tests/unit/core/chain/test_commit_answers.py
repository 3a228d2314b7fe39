"""What became of commits, looked up block by block, and the round that a rehearsal may choose."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from gaia.localnet.chain.beacon import KNOWN_ROUND, KNOWN_SIGNATURE
from gaia.validator.core.chain.commit_answers import CommitAnswers
from gaia.validator.core.chain.timelock import opened
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.signer_messages import CommitAsked, CommitRead, ReadCommits, SealWeights
from tests.unit.core.chain.test_commits import FakeChain

_OWN = "5Own"
_REVEALED = [{"event_id": "TimelockedWeightsRevealed", "attributes": (57, _OWN)}]
_LOCAL, _REMOTE = "ws://127.0.0.1:9944", "wss://entrypoint.example:443"


class Chain(FakeChain):
    """A chain in epoch 6, which began in block 990; block -> its events."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = replace(self.epochs, index=6, last_epoch_block=990)
        self.told_in: dict[int, Any] = {}
        self.index_before = 5

    async def own_uid_of(self, netuid: int, hotkey: str, block: int | None = None) -> int:
        return 0

    async def pairs(self, netuid: int, uid: int, block: int | None = None) -> list[list[int]]:
        return [[1, 65535]]

    async def query(self, item: str, *parameters: Any, block: int | None = None) -> Any:
        if item == "SubnetEpochIndex":
            assert block == 989
            return self.index_before
        return await super().query(item, *parameters, block=block)

    async def events(self, block: int) -> Any:
        told = self.told_in.get(block, [])
        if isinstance(told, Exception):
            raise told
        return told


@pytest.fixture
def chain() -> Chain:
    return Chain()


def _answers(chain: Any, endpoint: str = _LOCAL) -> CommitAnswers:
    wallet: Any = SimpleNamespace(hotkey=SimpleNamespace(ss58_address=_OWN, public_key=bytes(32)))
    settings = Settings(chain_endpoint=endpoint, beacon_round=KNOWN_ROUND).chain
    return CommitAnswers(chain, settings, wallet)


async def _looked_up(chain: Chain, reveal_epoch: int = 6) -> CommitRead:
    asked = CommitAsked(epoch=4, reveal_epoch=reveal_epoch)
    read = await _answers(chain).answer(ReadCommits(request_id=1, commits=[asked]))
    assert (read.epoch, read.pairs) == (6, [[1, 65535]])  # type: ignore[union-attr]
    return read.commits[0]  # type: ignore[union-attr]


async def test_block_of_the_reveal_is_that_of_its_event(chain: Chain) -> None:
    chain.told_in = {993: _REVEALED}

    read = await _looked_up(chain)

    assert (read.revealed_in, read.is_known) == (993, True)


async def test_chain_that_tells_of_no_reveal_is_believed_if_the_epoch_began_there(chain: Chain) -> None:
    read = await _looked_up(chain)
    assert (read.revealed_in, read.is_known) == (None, True)

    chain.index_before = 6  # the owner set a tempo, which moved the block

    assert not (await _looked_up(chain)).is_known


async def test_block_whose_events_are_gone_leaves_the_reveal_unknown(chain: Chain) -> None:
    chain.told_in = {991: TransientError("state discarded"), 993: _REVEALED}

    read = await _looked_up(chain)

    assert (read.revealed_in, read.is_known) == (None, False)


async def test_no_events_are_read_for_a_commit_that_waits_or_a_reveal_long_ago(chain: Chain) -> None:
    chain.told_in = {block: TransientError("not asked for") for block in range(990, 1001)}
    chain.queue = [(_OWN, 700, "0xff01", 9)]
    assert list((await _looked_up(chain)).queued.values()) == [700]

    chain.queue = []
    chain.epochs = replace(chain.epochs, block=1200)

    assert not (await _looked_up(chain)).is_known


@pytest.mark.parametrize(("endpoint", "is_chosen"), [(_LOCAL, True), (_REMOTE, False)])
async def test_round_of_a_rehearsal_counts_at_a_node_of_this_machine_alone(
    chain: Chain, endpoint: str, is_chosen: bool
) -> None:
    request = SealWeights(request_id=1, uids=[1], weights=[65535], version_key=4000)

    answer: Any = await _answers(chain, endpoint).answer(request)

    if is_chosen:
        assert opened(answer.sealed.ciphertext, KNOWN_SIGNATURE)
    else:
        with pytest.raises(ValueError, match=".+"):
            opened(answer.sealed.ciphertext, KNOWN_SIGNATURE)
