"""The signer tells what the chain makes of our weights, and what it would make of a vector that is not set yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gaia.localnet.chain.node import ChainNeuron, LocalChain
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.utils.errors import GaiaError
from tests.support.patience import Deadline, patience
from tests.support.signers import SignerProcess
from tests.support.subnet import NETUID, VALIDATOR, block_time_s, neurons

_TEMPO = 12
_PEER = "5DAAnrj7VHTznn2AWBemMuyBwZWs6FNFjdyVXUeYum3PTXFy"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK keeps caches in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    """A peer with three times our stake votes as we did, and after two epochs against us."""
    ours = neurons()
    stake = 3 * ours[0].stake
    peer = ChainNeuron(hotkey=_PEER, coldkey=_PEER, ip="", port=0, stake=stake, validator_permit=True)
    chain = LocalChain([*ours, peer], block_time_s=block_time_s(), tempo=_TEMPO, yuma=True)
    chain.add_peers([len(ours)], ours=0, turn_after=2)
    yield chain
    await chain.stop()


async def test_trust_is_told_and_predicted_while_others_agree_and_once_they_do_not(
    chain: LocalChain, signer: SignerProcess
) -> None:
    signer.start(await chain.start())
    client = SignerClient(signer.path, chain_timeout_s=patience(10.0))
    chain.write_storage("Weights", NETUID, 0, value=[[1, 65535], [2, 20000]])
    chain.write_storage("LastUpdate", NETUID, value=[chain.block + 1, *[0] * len(neurons()), 0])
    await chain.wait_for_block(_TEMPO + 1)

    agreed = await client.read_consensus()
    changed = await client.read_consensus([[3, 65535]])

    assert agreed.hotkey == VALIDATOR
    assert agreed.validator_trust == pytest.approx(1.0, abs=1e-3)
    assert (agreed.proposed, agreed.next) == (None, agreed.standing)
    assert agreed.standing.validator_trust == pytest.approx(1.0, abs=1e-3)
    assert changed.proposed is not None
    assert changed.proposed.validator_trust == pytest.approx(0.0, abs=1e-3)
    assert [row.hotkey for row in agreed.validators] == [_PEER, VALIDATOR]

    deadline = Deadline(60.0)
    while (view := await client.read_consensus()).standing.validator_trust > 0.5:
        assert not deadline.has_passed
        await chain.wait_for_block(chain.block + 1)
    assert view.standing.validator_trust == pytest.approx(20000 / 85535, abs=1e-3)
    assert view.validators[0].distance == pytest.approx(65535 / 85535, abs=1e-3)
    await client.close()


@pytest.mark.parametrize("pairs", [[[70000, 1]], [[-1, 1]], [[1, 65536]]])
async def test_pairs_that_no_chain_could_hold_are_not_looked_at(
    chain: LocalChain, signer: SignerProcess, pairs: list[list[int]]
) -> None:
    signer.start(await chain.start())
    client = SignerClient(signer.path, chain_timeout_s=patience(10.0))

    with pytest.raises(GaiaError):
        await client.read_consensus(pairs)

    assert (await client.read_metagraph()).own_hotkey == VALIDATOR
    await client.close()
