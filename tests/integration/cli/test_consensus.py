"""Our weights beside the others' on a chain with three validators, and the next epoch as it was predicted."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from gaia.cli.__main__ import main
from gaia.localnet.chain.node import ChainNeuron, LocalChain
from gaia.localnet.wallets import VALIDATOR_URI, keypair, miner_uri
from gaia.validator.app.meeting.engine_note import EngineNotes
from gaia.validator.app.meeting.rendezvous import make_private, run_directory
from gaia.validator.core.chain.client import ChainClient
from gaia.validator.core.clock import RealClock
from gaia.validator.core.consensus.reading import ConsensusState, read_consensus
from gaia.validator.core.consensus.yuma import run_epoch
from gaia.validator.db import journal
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import ItemMissing
from tests.support.builders import a_consensus_view
from tests.support.doctor_world import free_port
from tests.support.patience import patience
from tests.support.subnet import NETUID
from tests.support.unguarded import UNGUARDED_HERE
from tests.support.weight_setters import NOW, Setting

OURS = str(keypair(VALIDATOR_URI).ss58_address)
OTHERS = [str(keypair(f"//Other/{number}").ss58_address) for number in range(2)]
MINERS = [str(keypair(miner_uri(number)).ss58_address) for number in range(3)]
TEMPO = 12
Gaia = Callable[..., Awaitable[tuple[int, str, str]]]


def _neurons() -> list[ChainNeuron]:
    rows = zip([OURS, *OTHERS, *MINERS], [300.0, 200.0, 150.0, 0.0, 0.0, 0.0], strict=True)
    return [
        ChainNeuron(
            hotkey=hotkey,
            coldkey=hotkey,
            ip="" if stake else "127.0.0.2",
            port=0 if stake else 8091,
            stake=stake,
            validator_permit=stake > 0.0,
        )
        for hotkey, stake in rows
    ]


def _vote(chain: LocalChain, uid: int, weights: dict[int, int]) -> None:
    """Write weights as the validator's extrinsic would."""
    updates = [chain.last_update(other) for other in range(7)]
    updates[uid] = chain.block + 1
    chain.write_storage("LastUpdate", NETUID, value=updates)
    chain.write_storage("Weights", NETUID, uid, value=[list(pair) for pair in weights.items()])


@pytest.fixture
async def chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Database, empty_dsn: str
) -> AsyncIterator[LocalChain]:
    """Three validators have weighed three miners, and an epoch has begun since."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    chain = LocalChain(_neurons(), block_time_s=min(patience(0.25), 1.0), tempo=TEMPO, yuma=True)
    endpoint = await chain.start()
    for name, value in {"DATABASE_URL": empty_dsn, "DATA_DIR": "data", "CHAIN_ENDPOINT": endpoint}.items():
        monkeypatch.setenv(f"GAIA_{name}", value)
    await chain.wait_for_block(1)
    _vote(chain, 0, {3: 65535, 4: 32768})
    _vote(chain, 1, {3: 65535, 4: 65535})
    _vote(chain, 2, {3: 65535, 4: 65535})
    await chain.wait_for_block(TEMPO + 1)
    yield chain
    await chain.stop()


@pytest.fixture
def gaia(capsys: pytest.CaptureFixture[str]) -> Gaia:
    async def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(main, list(words))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


async def _read(endpoint: str) -> ConsensusState:
    client = await ChainClient.connect(endpoint, patience(20))
    try:
        return await read_consensus(client, NETUID, OURS)
    finally:
        await client.close()


async def test_next_epoch_gives_what_was_predicted(
    chain: LocalChain,
) -> None:
    endpoint = os.environ["GAIA_CHAIN_ENDPOINT"]
    _vote(chain, 0, {3: 20000, 4: 65535, 5: 9000})
    await chain.wait_for_block(chain.block + 2)
    before = await _read(endpoint)
    predicted = run_epoch(before.state)

    await chain.wait_for_block(before.state.block + 1)
    after = await _read(endpoint)

    assert after.metagraph.epoch > before.metagraph.epoch
    assert after.validator_trust == pytest.approx(list(predicted.validator_trust), abs=1e-3)
    assert after.dividends == pytest.approx(list(predicted.dividends), abs=1e-3)
    assert min(predicted.validator_trust[:3]) < 0.95
    assert sum(after.emission) == pytest.approx(TEMPO, rel=1e-3)
    assert after.metagraph.own_dividends == pytest.approx(after.dividends[0])


async def test_reveal_period_that_no_chain_has_asks_for_few_commits(chain: LocalChain) -> None:
    chain.write_storage("CommitRevealWeightsEnabled", NETUID, value=True)
    chain.write_storage("RevealPeriodEpochs", NETUID, value=2**40)
    chain.write_storage("SubnetEpochIndex", NETUID, value=10**6)
    await chain.wait_for_block(chain.block + 1)

    async with asyncio.timeout(patience(20)):
        assert (await _read(os.environ["GAIA_CHAIN_ENDPOINT"])).state.commits == {}


async def test_item_that_the_runtime_lacks_is_named_and_breaks_no_connection(chain: LocalChain) -> None:
    client = await ChainClient.connect(os.environ["GAIA_CHAIN_ENDPOINT"], patience(20))

    with pytest.raises(ItemMissing, match="reading NoSuchItem: the runtime does not have it"):
        await client.query("NoSuchItem", NETUID)

    assert not client.is_broken
    assert await client.head() > 0
    await client.close()


async def test_view_names_validators_and_the_miners_on_whom_we_differ(chain: LocalChain, gaia: Gaia) -> None:
    code, said, complaint = await gaia("consensus", "--hotkey", OURS, "--json")

    assert code == 0, complaint
    found = json.loads(said)
    assert [(row["uid"], round(row["stake"], 4)) for row in found["validators"]] == [
        (0, 0.4615),
        (1, 0.3077),
        (2, 0.2308),
    ]
    assert found["validators"][0]["distance"] == 0.0
    assert found["validators"][1]["distance"] == pytest.approx(1 / 6, abs=1e-4)
    assert [row["uid"] for row in found["miners"]] == [3, 4]
    assert found["miners"][0]["ours"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["miners"][0]["others"] == pytest.approx(1 / 2, abs=1e-4)
    assert found["miners"][0]["clipped"] == pytest.approx(1 / 6, abs=1e-4)
    assert found["validator_trust"] == pytest.approx(5 / 6, abs=1e-3)
    assert found["standing"]["validator_trust"] == pytest.approx(5 / 6, abs=1e-3)
    assert found["permit"]["rank"] == 1

    code, said, _ = await gaia("consensus", "--hotkey", OURS)
    assert code == 0
    assert "Miners on whom we differ most" in said


async def test_view_is_read_from_the_other_nodes_while_the_first_is_away(
    chain: LocalChain, gaia: Gaia, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAIA_CHAIN_MORE_ENDPOINTS", json.dumps([os.environ["GAIA_CHAIN_ENDPOINT"]]))
    monkeypatch.setenv("GAIA_CHAIN_ENDPOINT", f"ws://127.0.0.1:{free_port()}")

    code, said, complaint = await gaia("consensus", "--hotkey", OURS, "--json")

    assert (code, complaint) == (0, "One node alone says this; no other confirms it.\n")
    assert json.loads(said)["permit"]["rank"] == 1


async def test_hotkey_that_is_not_registered_has_no_consensus(chain: LocalChain, gaia: Gaia) -> None:
    stranger = str(keypair("//Stranger").ss58_address)

    code, said, complaint = await gaia("consensus", "--hotkey", stranger)

    assert (code, said) == (1, "")
    assert f"hotkey {stranger} is not registered on subnet {NETUID}" in complaint.replace("\n", " ")


async def test_our_own_view_says_why_we_differ_and_what_each_day_gave(
    chain: LocalChain, gaia: Gaia, database: Database, tmp_path: Path
) -> None:
    """We burn half, and the others nothing."""
    graph = (await _read(os.environ["GAIA_CHAIN_ENDPOINT"])).metagraph
    make_private(run_directory(tmp_path / "data"))
    EngineNotes(tmp_path / "data", RealClock()).write(graph)
    setting = Setting(database)
    setting.metagraph.metagraph = msgspec.structs.replace(graph, epoch=10, block=1000, next_epoch_block=1080)
    await setting.record_run(NOW - timedelta(days=1), dict(zip(MINERS, (0.9, 0.9, 0.1), strict=True)))
    async with database.transaction() as connection:
        await connection.execute(UNGUARDED_HERE)
        await connection.execute("UPDATE forecasts SET uid = uid + 1000")  # no two have one uid meanwhile
        registered = [(each.hotkey, each.uid, each.registered_at) for each in graph.neurons]
        await connection.executemany(
            "UPDATE forecasts SET uid = $2, registered_at = $3 WHERE hotkey = $1", registered
        )
    await setting.setter.set_if_due(NOW)
    async with database.transaction() as connection:
        view = a_consensus_view(hotkey=OURS, validator_trust=0.5, emission=3.0)
        await journal.record_consensus(connection, NETUID, view, NOW)

    code, said, complaint = await gaia("consensus", "--json")

    assert code == 0, complaint
    found = json.loads(said)
    assert found["hotkey"] == OURS
    assert found["days"] == [
        {
            "day": "2026-04-10",
            "epochs": 1,
            "validator_trust": 0.5,
            "least_trust": 0.5,
            "dividends": 0.25,
            "emission": 3.0,
        }
    ]
    assert [row["change"] for row in found["replays"]][:2] == ["as it is", "burn of 0.0%"]
    assert found["replays"][1]["distance"] < found["replays"][0]["distance"]
    assert found["reasons"]["4"] == "burn of 0.0%"
    code, said, _ = await gaia("consensus")
    assert code == 0
    assert "What the chain gave us, by day" in said
    assert "burn of 0.0%" in said
