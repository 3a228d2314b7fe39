"""Weights that a setter has set on a local chain: what the journal, the chain and an independent program say."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import bittensor as bt
import pytest

from gaia.cli.__main__ import main
from gaia.localnet.chain.node import LocalChain
from gaia.localnet.wallets import VALIDATOR_URI, write_hotkey
from gaia.validator.app.meeting.engine_note import EngineNotes
from gaia.validator.app.meeting.rendezvous import make_private, run_directory
from gaia.validator.core.chain.client import ChainClient
from gaia.validator.core.chain.plain_weights import PlainWeights
from gaia.validator.core.clock import RealClock
from gaia.validator.db.connection import Database
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.signer_messages import JournalledVector, WeightsSet
from tests.support.patience import patience
from tests.support.repository import SCRIPTS
from tests.support.subnet import MINERS, NETUID, VALIDATOR, neurons
from tests.support.unguarded import UNGUARDED_HERE
from tests.support.weight_setters import NOW, FakeSigner, Setting

SCORES = dict(zip(MINERS, (0.6, 0.5, 0.2), strict=True))
Gaia = Callable[..., Awaitable[tuple[int, str, str]]]


class ChainSigner(FakeSigner):
    """Sets weights on the local chain, with the SDK."""

    def __init__(self, plain: PlainWeights, wallet: bt.Wallet) -> None:
        super().__init__()
        self._plain = plain
        self._wallet = wallet

    async def set_weights(self, vector: JournalledVector, promised_block: int | None) -> WeightsSet:
        async def promise(_: object) -> JournalledVector:
            """A signer notes here what it is about to sign."""
            return vector

        landed = await self._plain.set(self._wallet, vector, promised_block, promise, lambda _: False)
        return WeightsSet(
            request_id=1,
            block=landed.block,
            block_hash=landed.block_hash,
            extrinsic=landed.extrinsic,
            read_back=landed.read_back,
        )


@pytest.fixture
async def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalChain]:
    monkeypatch.setenv("HOME", str(tmp_path))
    chain = LocalChain(neurons(), block_time_s=0.5, tempo=9999)
    yield chain
    await chain.stop()


@pytest.fixture
async def url(
    chain: LocalChain, database: Database, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Address of the chain, on which weights of one run were set and journalled."""
    url = await chain.start()
    monkeypatch.chdir(tmp_path)
    for name, value in {"DATABASE_URL": empty_dsn, "DATA_DIR": "data", "CHAIN_ENDPOINT": url}.items():
        monkeypatch.setenv(f"GAIA_{name}", value)
    write_hotkey(tmp_path / "wallets", "validator", "default", VALIDATOR_URI)
    wallet = bt.Wallet(name="validator", hotkey="default", path=str(tmp_path / "wallets"))
    client = await ChainClient.connect(url, patience(20))
    try:
        await chain.wait_for_block(3)
        setting = Setting(database)
        setting.signer = ChainSigner(PlainWeights(client, NETUID, Hotkey(VALIDATOR)), wallet)
        setting.metagraph.metagraph = await client.metagraph(NETUID, VALIDATOR)
        await setting.record_run(NOW - timedelta(days=1), SCORES)
        async with database.transaction() as connection:
            await connection.execute(UNGUARDED_HERE)
            for neuron in setting.metagraph.metagraph.neurons:
                await connection.execute(
                    "UPDATE forecasts SET registered_at = $1 WHERE hotkey = $2",
                    neuron.registered_at,
                    neuron.hotkey,
                )
        assert await setting.successor().set_if_due(NOW) is not None
    finally:
        await client.close()
    make_private(run_directory(Path("data").absolute()))
    EngineNotes(Path("data").absolute(), RealClock()).write(setting.metagraph.metagraph)
    return url


@pytest.fixture
def gaia(url: str, capsys: pytest.CaptureFixture[str]) -> Gaia:
    async def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(main, list(words))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


async def verified(*words: str | Path) -> tuple[int, dict[str, object], str]:
    """Run the independent program; return its exit code, its object and its complaint."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, SCRIPTS / "verify_weights.py", *words, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(patience(60)):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out else {}, err.decode()


async def test_chain_and_journal_agree_on_weights_that_were_set(gaia: Gaia) -> None:
    code, said, complaint = await gaia("weights", "verify", "--json")
    found = json.loads(said)

    assert code == 0, complaint
    assert (found["hotkey"], found["is_explained"]) == (VALIDATOR, True)
    assert [(row["state"], row["verdict"], row["reason"]) for row in found["rows"]] == [("set", "agrees", "")]
    assert found["rows"][0]["block"] == found["last_update"] <= found["block"]


async def test_changed_journal_differs_from_the_chain(gaia: Gaia, database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(UNGUARDED_HERE)
        await connection.execute("UPDATE weight_journal SET vector = '[[1, 65535]]'")

    code, said, _ = await gaia("weights", "verify")

    assert code == 1
    assert "differs" in said
    assert "the chain held other weights in block" in said


async def test_weights_of_another_program_with_our_hotkey_are_told(gaia: Gaia, chain: LocalChain) -> None:
    chain.write_storage("Weights", NETUID, 0, value=[[1, 65535]])
    chain.write_storage("LastUpdate", NETUID, value=[chain.block + 1, 0, 0, 0, 0])
    await chain.wait_for_block(chain.block + 1)

    code, said, _ = await gaia("weights", "verify")

    assert code == 1
    assert "another program signs with this hotkey" in said.replace("\n", " ")


async def test_node_that_is_away_is_named(gaia: Gaia, chain: LocalChain) -> None:
    await chain.stop()

    code, said, complaint = await gaia("weights", "verify")

    assert (code, said) == (1, "")
    assert "the chain failed while connecting to 127.0.0.1:" in complaint


async def test_independent_program_finds_that_the_weights_follow_and_stand(
    gaia: Gaia, url: str, tmp_path: Path
) -> None:
    code, said, complaint = await gaia("export", "weights", str(tmp_path / "files"), "--json")
    assert code == 0, complaint
    (path,) = json.loads(said)["files"]

    code, found, complaint = await verified(path, "--endpoint", url)

    assert (code, found.get("violations")) == (0, []), complaint
    assert found["figures"] == {"vectors": 1, "unreadable": 0, "on_chain": 1}


async def test_independent_program_names_what_the_chain_says_otherwise(
    gaia: Gaia, url: str, tmp_path: Path, chain: LocalChain
) -> None:
    await gaia("export", "weights", str(tmp_path / "files"))
    (path,) = (tmp_path / "files").iterdir()
    chain.write_storage("Keys", NETUID, 2, value=VALIDATOR)
    chain.write_storage("Weights", NETUID, 0, value=[[1, 65535]])
    chain.write_storage("SubnetOwnerHotkey", NETUID, value=VALIDATOR)
    await chain.wait_for_block(chain.block + 1)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"block": chain.block, "computed_in": chain.block}))

    code, found, _ = await verified(path, "--endpoint", url, "--hotkey", MINERS[0])
    assert code == 1
    told = json.dumps(found["violations"])
    for sentence in ("the chain had 5 neurons", "the subnet's owner was", "the chain held other weights of"):
        assert sentence in told

    code, _, complaint = await verified(path, "--endpoint", url, "--hotkey", "5Nobody")
    assert (code, "5Nobody" in complaint) == (2, True)


async def test_independent_program_says_that_a_node_is_away_or_has_no_such_block(
    gaia: Gaia, url: str, tmp_path: Path, chain: LocalChain
) -> None:
    await gaia("export", "weights", str(tmp_path / "files"))
    (path,) = (tmp_path / "files").iterdir()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"computed_in": 10**6}))

    code, _, complaint = await verified(path, "--endpoint", url)
    assert (code, complaint) == (2, f"{path.name}: the node has no block 1000000\n")

    await chain.stop()
    code, _, complaint = await verified(path, "--endpoint", url)
    assert code == 2
    assert complaint.startswith("the node does not answer: ")
