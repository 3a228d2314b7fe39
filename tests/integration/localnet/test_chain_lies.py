"""Nodes that lie, signers that die: the validator waits, and its weights are set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gaia.localnet.chain.lies import custom_error, refusal, result
from gaia.localnet.chain.node import LocalChain
from gaia.localnet.wallets import VALIDATOR_URI, keypair
from gaia.validator.core.chain.metagraph import MetagraphKeeper
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import ConfigurationError, OwnFailure, SubnetMissing, TransientError
from tests.support.half_validator import NOW, PATIENCE_S, HalfValidator
from tests.support.patience import patience
from tests.support.scored_run import record_scored_run
from tests.support.signers import SignerProcess
from tests.support.subnet import NETUID, VALIDATOR, block_time_s, neurons, set_now, vector

GET_METAGRAPH = "SubnetInfoRuntimeApi_get_metagraph"
SUBMIT = "author_submitAndWatchExtrinsic"
NULL = result("0x00")
OUR_KEY = bytes(keypair(VALIDATOR_URI).public_key).hex()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK keeps caches in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    # Epochs that no test outlives.
    chain = LocalChain(neurons(), block_time_s=block_time_s(), tempo=9999)
    yield chain
    await chain.stop()


@pytest.fixture
async def client(signer: SignerProcess) -> AsyncIterator[SignerClient]:
    client = SignerClient(signer.path, chain_timeout_s=patience(20.0))
    yield client
    await client.close()


@pytest.fixture
async def validator(database: Database, client: SignerClient) -> HalfValidator:
    await record_scored_run(database, NOW)
    return HalfValidator(database, client)


def _cut(truth: Any) -> Any:
    return {**truth, "result": truth["result"][: len(truth["result"]) // 4 * 2]}


def _lengthened(truth: Any) -> Any:
    return {**truth, "result": truth["result"] + "00"}


GARBAGE: dict[str, Callable[[Any], Any]] = {
    "nothing": result(None),
    "no bytes": result("0x"),
    "no hex": result("zz"),
    "a number": result(7),
    "an object": result({}),
    "a list": result([]),
    "cut short": _cut,
    "too long": _lengthened,
    "ones": result("0x01" + "ff" * 2000),
    "zeros": result("0x01" + "00" * 2000),
    "no result": lambda truth: {"jsonrpc": "2.0", "id": truth["id"]},
    "an error": refusal(-32000, "Client error"),
    "an error of no shape": lambda truth: {"jsonrpc": "2.0", "id": truth["id"], "error": "no"},
}


async def test_garbage_for_a_metagraph_is_a_typed_error_and_the_next_reading_is_sound(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    signer.start(await chain.start())
    outcomes: dict[str, Any] = {}

    for name, garbage in GARBAGE.items():
        chain.lies.tell(GET_METAGRAPH, garbage)
        (outcomes[name],) = await asyncio.gather(client.read_metagraph(), return_exceptions=True)
        assert (await client.read_metagraph()).own_uid == 0, name

    assert {name: type(outcome) for name, outcome in outcomes.items()} == dict.fromkeys(
        GARBAGE, TransientError
    )


async def test_a_subnet_that_one_answer_denies_is_a_fact_of_that_answer(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    signer.start(await chain.start())
    chain.lies.tell(GET_METAGRAPH, NULL)

    with pytest.raises(SubnetMissing):
        await client.read_metagraph()

    assert (await client.read_metagraph()).own_uid == 0


async def test_garbage_for_storage_is_a_typed_error(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    signer.start(await chain.start())
    landed = await set_now(client, {1: 65535, 2: 300})
    epoch = (await client.read_metagraph()).epoch
    outcomes: dict[tuple[str, Any], Any] = {}

    for item, parameters in STORAGE.items():
        for value in ("0x", "zz", 5, "0x0401"):
            chain.lies.tell(chain.key_of(item, *parameters), result(value), times=None)
            outcomes[item, value] = await asyncio.gather(
                client.read_weights(),
                client.set_weights(vector(epoch, {1: 65535, 2: 300}), landed.block - 1),
                return_exceptions=True,
            )
            chain.lies.end()

    kinds = {case: [type(outcome) for outcome in both] for case, both in outcomes.items()}
    assert kinds == {case: [TransientError, TransientError] for case in outcomes}
    assert (await client.read_weights()).last_update == landed.block


STORAGE: dict[str, tuple[Any, ...]] = {
    "Uids": (NETUID, VALIDATOR),
    "LastUpdate": (NETUID,),
    "Weights": (NETUID, 0),
}


@pytest.mark.parametrize("number", [10, 19])
async def test_refusal_by_the_pool_is_believed_only_after_a_look_at_the_chain(
    chain: LocalChain, signer: SignerProcess, client: SignerClient, number: int
) -> None:
    signer.start(await chain.start())
    chain.lies.tell(SUBMIT, custom_error(number))

    landed = await set_now(client, {1: 65535, 2: 9})

    assert landed.read_back == [[1, 65535], [2, 9]]
    assert chain.last_update(0) == landed.block


async def test_what_the_chain_holds_of_us_crosses_the_signers_socket(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    signer.start(await chain.start())
    landed = await set_now(client, {1: 65535, 2: 9})

    held = await client.read_weights()

    assert (held.last_update, held.pairs) == (landed.block, [[1, 65535], [2, 9]])
    assert held.block >= landed.block


async def test_nothing_is_signed_twice_for_one_promise(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    signer.start(await chain.start())
    first = await set_now(client, {1: 65535, 2: 9}, promised_block=0)
    await chain.wait_for_block(first.block + 4)

    again = await set_now(client, {1: 65535, 2: 9}, promised_block=0)

    assert again.block == first.block == chain.last_update(0)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (GET_METAGRAPH, NULL),
        (GET_METAGRAPH, GARBAGE["zeros"]),
        (GET_METAGRAPH, GARBAGE["a number"]),
        (SUBMIT, custom_error(19)),
        (SUBMIT, custom_error(10)),
        (SUBMIT, refusal(1010, "Invalid Transaction", "Transaction has a bad signature")),
    ],
)
async def test_validator_outlives_what_a_node_answers_and_sets_its_weights(
    chain: LocalChain,
    signer: SignerProcess,
    validator: HalfValidator,
    method: str,
    answer: Callable[[Any], Any],
) -> None:
    signer.start(await chain.start())
    lie = chain.lies.tell(method, answer, times=0, acts=False)
    await validator.begin()

    lie.times = 1
    row = await validator.until_set()
    await validator.end()

    assert lie.told == 1
    assert chain.last_update(0) == row["block"]
    incidents = await validator.rows("SELECT party, ended_at FROM incidents")
    assert [row["party"] for row in incidents] == ["chain" if method == GET_METAGRAPH else "weights"]
    assert all(row["ended_at"] is not None for row in incidents)


async def test_validator_that_was_deregistered_lives_and_says_so_until_it_is_back(
    chain: LocalChain, signer: SignerProcess, validator: HalfValidator
) -> None:
    signer.start(await chain.start())
    await validator.begin()
    await validator.until_set()

    lie = chain.lies.tell(GET_METAGRAPH, _without_us, times=None)
    (incident,) = await validator.until("SELECT * FROM incidents", bool)
    chain.lies.end()
    await validator.until("SELECT * FROM incidents", lambda rows: rows[0]["ended_at"] is not None)
    await validator.end()

    assert lie.told >= 1
    assert "not registered" in incident["evidence"]


def _without_us(truth: Any) -> Any:
    """Answer the same subnet with another hotkey in our place."""
    return {**truth, "result": truth["result"].replace(OUR_KEY, "07" * 32)}


async def test_start_believes_a_node_that_denies_the_subnet_only_after_it_did_so_again_and_again(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    signer.start(await chain.start())
    keeper = MetagraphKeeper(client)
    lie = chain.lies.tell(GET_METAGRAPH, NULL, times=None)
    with pytest.raises(ConfigurationError, match="GAIA_NETUID"):
        await keeper.first(0.0)
    denied = lie.told
    chain.lies.end()
    chain.lies.tell(GET_METAGRAPH, NULL, times=denied - 1)

    assert (await keeper.first(0.0)).own_uid == 0
    assert denied == 3


async def test_signer_killed_right_after_it_submitted_leaves_no_row_in_doubt(
    chain: LocalChain, signer: SignerProcess, validator: HalfValidator
) -> None:
    url = await chain.start()
    signer.start(url)
    await validator.keeper.first(patience(PATIENCE_S))

    def kill_first(truth: Any) -> Any:
        signer.kill()
        return truth

    chain.lies.tell(SUBMIT, kill_first)
    with pytest.raises(OwnFailure):
        await validator.setter.set_if_due(NOW)
    await _landed(chain)
    signer.start(url)
    await validator.keeper.refresh()

    assert await validator.setter.set_if_due(NOW) is None

    (row,) = await validator.rows("SELECT * FROM weight_journal")
    assert (row["state"], row["block"]) == ("set", chain.last_update(0))


async def test_stop_while_weights_are_being_set_waits_until_they_are(
    chain: LocalChain, signer: SignerProcess, validator: HalfValidator, caplog: pytest.LogCaptureFixture
) -> None:
    signer.start(await chain.start())

    def stop_now(truth: Any) -> Any:
        validator.stop.set()
        return truth

    chain.lies.tell(SUBMIT, stop_now)
    await validator.begin()
    assert validator.running is not None
    await asyncio.wait_for(validator.running, patience(PATIENCE_S))

    (row,) = await validator.rows("SELECT * FROM weight_journal")
    assert (row["state"], row["block"]) == ("set", chain.last_update(0))
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


async def test_submission_that_outlasts_the_stop_is_settled_at_the_next_start(
    chain: LocalChain, signer: SignerProcess, validator: HalfValidator, client: SignerClient
) -> None:
    signer.start(await chain.start())
    await validator.keeper.first(patience(PATIENCE_S))
    submission = asyncio.create_task(validator.setter.set_if_due(NOW))

    def time_is_up(truth: Any) -> Any:
        submission.cancel()
        return truth

    chain.lies.tell(SUBMIT, time_is_up)
    await asyncio.gather(submission, return_exceptions=True)
    await _landed(chain)
    assert [row["state"] for row in await validator.rows("SELECT * FROM weight_journal")] == ["intended"]

    successor = HalfValidator(validator.database, client)
    await successor.begin()
    row = await successor.until_set()
    await successor.end()

    assert row["block"] == chain.last_update(0)


async def _landed(chain: LocalChain) -> None:
    async with asyncio.timeout(patience(PATIENCE_S)):
        while not chain.last_update(0):
            await chain.wait_for_block(chain.block + 1)
