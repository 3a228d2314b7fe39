"""One of three nodes tells every known lie: epochs are set as ever, nobody is robbed, and the liar is named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gaia.localnet.chain.endpoint import Endpoint
from gaia.localnet.chain.lies import custom_error, result, silence
from gaia.localnet.chain.node import LocalChain
from gaia.localnet.wallets import VALIDATOR_URI, keypair
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.db.connection import Database
from tests.support.half_validator import NOW, PATIENCE_S, HalfValidator
from tests.support.patience import patience
from tests.support.scored_run import record_scored_run
from tests.support.signers import SignerProcess
from tests.support.subnet import NETUID, block_time_s, neurons

TEMPO = 40
EPOCHS = 2
GET_METAGRAPH = "SubnetInfoRuntimeApi_get_metagraph"
SUBMIT = "author_submitAndWatchExtrinsic"
OUR_KEY = bytes(keypair(VALIDATOR_URI).public_key).hex()
AXON_OF_MINER = "0200007f"
"""First bytes of the address of the best miner, 127.0.0.2, as SCALE has them."""
ROOT = "0x" + "00" * 32


class Subnet:
    """A chain with three nodes, and the validator that reads them."""

    def __init__(self, chain: LocalChain, nodes: list[Endpoint], client: SignerClient) -> None:
        self.chain = chain
        self.nodes = nodes
        self.client = client

    @property
    def liar(self) -> Endpoint:
        return self.nodes[-1]

    async def contradicted(self) -> dict[str, bool]:
        """Node -> whether the others contradicted it."""
        return {node.name: node.contradictions > 0 for node in await self.client.read_nodes()}


@pytest.fixture
async def subnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Subnet]:
    monkeypatch.setenv("HOME", str(tmp_path))
    # Blocks of a tenth of a second at least, because all nodes are asked for each step.
    chain = LocalChain(neurons(), block_time_s=max(0.1, block_time_s()), tempo=TEMPO, weights_rate_limit=1)
    signer = SignerProcess(tmp_path)
    client = SignerClient(signer.path, chain_timeout_s=patience(20.0))
    first = await chain.start()
    nodes = [await chain.further_endpoint() for _ in range(2)]
    signer.start(first, chain_more_endpoints=[node.url for node in nodes])
    yield Subnet(chain, nodes, client)
    await client.close()
    await signer.close()
    await chain.stop()


@pytest.fixture
async def validator(database: Database, subnet: Subnet) -> HalfValidator:
    await record_scored_run(database, NOW)
    return HalfValidator(database, subnet.client)


def _header(number: int) -> dict[str, Any]:
    return {
        "number": hex(number),
        "parentHash": ROOT,
        "stateRoot": ROOT,
        "extrinsicsRoot": ROOT,
        "digest": {"logs": []},
    }


def _replaced(old: str, new: str) -> Callable[[Any], Any]:
    """A lie that tells the truth with other bytes in one place."""
    return lambda truth: {**truth, "result": truth["result"].replace(old, new, 1)}


def _said_to_be_final(truth: Any) -> Any:
    """Take the submission, say nothing more, and do not carry it out."""
    return {"jsonrpc": "2.0", "id": truth["id"], "result": "gaia-lost"}


def _index(number: int) -> Callable[[Any], Any]:
    return result("0x" + number.to_bytes(8, "little").hex())


LIES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "no subnet": (GET_METAGRAPH, result("0x00")),
    "garbage": (GET_METAGRAPH, result("zz")),
    "our hotkey is not registered": (GET_METAGRAPH, _replaced(OUR_KEY, "07" * 32)),
    "the best miner has no address": (GET_METAGRAPH, _replaced(AXON_OF_MINER, "00000000")),
    "an epoch far ahead": ("SubnetEpochIndex", _index(60)),
    "the next epoch": ("LastEpochBlock", _index(1)),
    "a far head": ("chain_getHeader", result(_header(10**6))),
    "an old head": ("chain_getHeader", result(_header(1))),
    "weights were set just now": ("LastUpdate", result("0x14" + (10**6).to_bytes(8, "little").hex() * 5)),
    "no weights": ("LastUpdate", result("0x14" + "00" * 40)),
    "other weights": ("Weights", result("0x040300ffff")),
    "commit-reveal is on": ("CommitRevealWeightsEnabled", result("0x01")),
    "a hash of nothing": ("chain_getBlockHash", result(None)),
    "unknown uid": (SUBMIT, custom_error(19)),
    "unknown hotkey": (SUBMIT, custom_error(10)),
    "a submission that is dropped": (SUBMIT, _said_to_be_final),
    "silence": ("state_getStorageAt", silence),
}
UNSEEN = {"garbage", "an old head", "a hash of nothing", "silence", "a submission that is dropped"}
"""Lies that look like a node that fails or lags; it is left aside."""
REFUSED = {"unknown uid", "unknown hotkey"}
"""Refusals are compared with what the others did, who may have known the extrinsic already here."""
PARAMETERS: dict[str, tuple[Any, ...]] = {
    "Weights": (NETUID, 0),
    "LastUpdate": (NETUID,),
    "SubnetEpochIndex": (NETUID,),
    "LastEpochBlock": (NETUID,),
    "CommitRevealWeightsEnabled": (NETUID,),
}


@pytest.mark.parametrize("name", LIES)
async def test_epochs_are_set_while_one_of_three_nodes_lies(
    subnet: Subnet, validator: HalfValidator, name: str
) -> None:
    method, answer = LIES[name]
    key = subnet.chain.key_of(method, *PARAMETERS[method]) if method in PARAMETERS else method
    lie = subnet.liar.lies.tell(key, answer, times=None, acts=method != SUBMIT)
    await validator.begin()

    rows = await validator.until(
        "SELECT epoch, state, vector FROM weight_journal WHERE state = 'set' ORDER BY epoch",
        lambda found: len(found) >= EPOCHS,
    )
    await _told(subnet, expected=name not in UNSEEN | REFUSED)
    await validator.end()

    assert lie.told, "nobody asked the liar"
    epochs = [row["epoch"] for row in rows]
    assert epochs == list(range(epochs[0], epochs[0] + len(rows))), "an epoch was missed"
    assert {1, 2} <= {uid for row in rows for uid, _ in row["vector"]}, "a miner was robbed"
    assert all(len(vectors) == 1 for vectors in _vectors(subnet).values()), "two vectors in one epoch"


async def _told(subnet: Subnet, *, expected: bool) -> None:
    """Wait until the liar is named, where it can be; nobody else ever is."""
    async with asyncio.timeout(patience(PATIENCE_S)):
        while expected and not list((await subnet.contradicted()).values())[-1]:
            await subnet.chain.wait_for_block(subnet.chain.block + 1)
    assert list((await subnet.contradicted()).values())[:-1] == [False, False]


async def test_two_liars_that_agree_cannot_undo_what_the_third_has(
    subnet: Subnet, validator: HalfValidator
) -> None:
    await validator.begin()
    row = await validator.until_set()
    for node in subnet.nodes:
        node.view.false_state[_bytes(subnet.chain.key_of("LastUpdate", NETUID))] = bytes([5 << 2]) + bytes(40)
        node.view.false_state[_bytes(subnet.chain.key_of("Weights", NETUID, 0))] = bytes(1)

    async with asyncio.timeout(patience(PATIENCE_S)):
        while not any((await subnet.contradicted()).values()):
            await subnet.chain.wait_for_block(subnet.chain.block + 1)
    await subnet.chain.wait_for_block(subnet.chain.block + TEMPO)
    await validator.end()

    in_this_epoch = [block for block, _ in subnet.chain.submitted if block == row["epoch"]]
    assert len(in_this_epoch) == 1
    assert all(len(vectors) == 1 for vectors in _vectors(subnet).values())


def _vectors(subnet: Subnet) -> dict[int, set[str]]:
    """Epoch -> the different vectors that were submitted for it."""
    found: dict[int, set[str]] = {}
    for epoch, extrinsic in subnet.chain.submitted:
        found.setdefault(epoch, set()).add(str(extrinsic.arguments))
    return found


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
