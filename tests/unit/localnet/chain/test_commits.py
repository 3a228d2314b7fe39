"""Sealed weights on the local chain: kept by epoch, revealed with the beacon's pulse, dropped in silence."""

from __future__ import annotations

from typing import Any

import pytest

from gaia.localnet.chain.beacon import KNOWN_ROUND, latest_round
from gaia.localnet.chain.blocks import BlockChain
from gaia.localnet.chain.commits import MOST_COMMITS
from gaia.localnet.wallets import VALIDATOR_URI, keypair
from gaia.validator.core.chain.timelock import COMMIT_VERSION, payload, seal
from tests.support.subnet import MINERS, NETUID, block_chain, signed_call

_TEMPO = 5
_KEY = bytes(keypair(VALIDATOR_URI).public_key)


@pytest.fixture
def chain() -> BlockChain:
    return block_chain(commit_reveal=True, weights_rate_limit=0, tempo=_TEMPO)


def _sealed(*, hotkey: bytes = _KEY, uids: tuple[int, ...] = (1, 2), version_key: int = 0) -> str:
    content = payload(hotkey, uids, [65535, *[9] * (len(uids) - 1)], version_key)
    return "0x" + seal(content, KNOWN_ROUND).hex()


def _commit(chain: BlockChain, sealed: str, reveal_round: int | None = None, **changes: Any) -> str:
    """Commit in the next block; return "" or the name of the refusal."""
    stored = chain.storage.read("LastStoredRound", pallet="Drand")
    arguments = {
        "netuid": NETUID,
        "mecid": 0,
        "commit": sealed,
        "reveal_round": stored if reveal_round is None else reveal_round,
        "commit_reveal_version": COMMIT_VERSION,
    }
    call = signed_call(chain, VALIDATOR_URI, "commit_timelocked_mechanism_weights", arguments | changes)
    # A round that is published between the two would make this one too old.
    beacon = chain.pallet.weights.beacon
    was_silent, beacon.is_silent = beacon.is_silent, True
    chain.submit(call)
    chain.seal()
    beacon.is_silent = was_silent
    errors = [error for name, error in _events(chain, "System") if name == "ExtrinsicFailed"]
    return _name(chain, errors[0]) if errors else ""


def _name(chain: BlockChain, failed: dict[str, Any]) -> str:
    module = failed["dispatch_error"]["Module"]
    number = int(str(module["error"])[2:4], 16)
    names = {
        (pallet["index"], error["index"]): error["name"]
        for pallet in chain.runtime.codec.metadata_ir()["pallets"]
        for error in pallet["errors"]
    }
    return str(names[module["index"], number])


def _events(chain: BlockChain, pallet: str = "SubtensorModule") -> list[tuple[str, Any]]:
    told = chain.storage.read("Events", pallet="System")
    return [(event["event_id"], event["attributes"]) for event in told if event["module_id"] == pallet]


def _until_epoch(chain: BlockChain, epoch: int) -> None:
    while chain.storage.read("SubnetEpochIndex", NETUID) < epoch:
        chain.seal()


def _weights(chain: BlockChain) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in chain.storage.read("Weights", NETUID, 0)]


def test_commit_is_revealed_in_the_first_block_of_its_epoch_and_dates_the_neuron_before(
    chain: BlockChain,
) -> None:
    assert _commit(chain, _sealed()) == ""
    committed = chain.head.number
    ((_, _, digest, _),) = [told for name, told in _events(chain) if name == "TimelockedWeightsCommitted"]
    assert chain.storage.read("LastUpdate", NETUID)[0] == committed
    assert len(str(digest)) > 2
    _until_epoch(chain, 1)

    assert _weights(chain) == [(1, 65535), (2, 9)]
    assert chain.head.number == _TEMPO
    assert [name for name, _ in _events(chain)] == ["WeightsSet", "TimelockedWeightsRevealed"]
    assert chain.storage.read("LastUpdate", NETUID)[0] == committed
    assert chain.storage.read("TimelockedWeightCommits", NETUID, 0) == []


def test_of_several_commits_of_one_epoch_the_last_one_stands(chain: BlockChain) -> None:
    _commit(chain, _sealed())
    _commit(chain, _sealed(uids=(2, 3)))
    _until_epoch(chain, 1)

    assert _weights(chain) == [(2, 65535), (3, 9)]


def test_commit_whose_pulse_comes_late_is_revealed_later_in_its_epoch(chain: BlockChain) -> None:
    late = chain.storage.read("LastStoredRound", pallet="Drand") + 1000
    _commit(chain, _sealed(), reveal_round=late)
    _until_epoch(chain, 1)
    assert _weights(chain) == []
    pulse = chain.storage.read(
        "Pulses", chain.storage.read("LastStoredRound", pallet="Drand"), pallet="Drand"
    )
    chain.storage.write("Pulses", late, value=pulse, pallet="Drand")
    chain.seal()

    assert _weights(chain) == [(1, 65535), (2, 9)]


def test_commit_whose_pulse_never_comes_is_lost_with_its_epoch(chain: BlockChain) -> None:
    _commit(chain, _sealed(), reveal_round=10**9)
    _until_epoch(chain, 3)

    assert _weights(chain) == []
    assert chain.storage.read("TimelockedWeightCommits", NETUID, 0) == []


@pytest.mark.parametrize(
    "sealed",
    [
        pytest.param("0x" + "ab" * 300, id="no ciphertext"),
        pytest.param(_sealed(hotkey=bytes(keypair("//Stranger").public_key)), id="of another hotkey"),
        pytest.param(_sealed(hotkey=b"short"), id="of no hotkey"),
        pytest.param("0x" + seal(b"", KNOWN_ROUND).hex(), id="empty"),
        pytest.param("0x" + seal(payload(_KEY, [1, 2], [1, 2], 0), KNOWN_ROUND + 1).hex(), id="other round"),
        pytest.param(_sealed(uids=(1, 9)), id="of a uid that does not exist"),
    ],
)
def test_commit_that_cannot_be_revealed_vanishes_without_an_event(chain: BlockChain, sealed: str) -> None:
    _commit(chain, sealed)
    _until_epoch(chain, 1)

    assert (_weights(chain), _events(chain)) == ([], [])
    assert chain.storage.read("TimelockedWeightCommits", NETUID, 0) == []


def test_permit_that_is_lost_before_the_reveal_loses_the_weights(chain: BlockChain) -> None:
    _commit(chain, _sealed())
    chain.storage.write("ValidatorPermit", NETUID, value=[False] * len(MINERS) + [False, False])
    _until_epoch(chain, 1)

    assert _weights(chain) == []


def test_commit_is_refused_by_the_runtimes_name(chain: BlockChain) -> None:
    assert _commit(chain, _sealed(), commit_reveal_version=3) == "IncorrectCommitRevealVersion"
    assert _commit(chain, _sealed(), mecid=1) == "MechanismDoesNotExist"
    chain.storage.write("WeightsSetRateLimit", NETUID, value=100)
    assert _commit(chain, _sealed()) == ""
    assert _commit(chain, _sealed()) == "CommittingWeightsTooFast"
    chain.storage.write("CommitRevealWeightsEnabled", NETUID, value=False)
    assert _commit(chain, _sealed()) == "CommitRevealDisabled"


def test_eleventh_commit_of_an_epoch_is_refused(chain: BlockChain) -> None:
    chain.storage.write("Tempo", NETUID, value=100)
    refusals = [_commit(chain, "0x01ff") for _ in range(MOST_COMMITS + 1)]

    assert refusals == [""] * MOST_COMMITS + ["TooManyUnrevealedCommits"]


def test_beacon_stores_each_round_once_its_time_has_come(chain: BlockChain) -> None:
    beacon = chain.pallet.weights.beacon
    first = chain.storage.read("LastStoredRound", pallet="Drand")
    now_ms = 1_692_803_367_000 + (first + 1) * 3000
    beacon.lose(first + 1)

    beacon.store(now_ms)

    assert latest_round(now_ms) == first + 2
    assert [beacon.has(first + each) for each in range(4)] == [True, False, True, False]
    assert chain.storage.read("LastStoredRound", pallet="Drand") == first + 2


def test_beacon_keeps_the_newest_rounds_alone(chain: BlockChain) -> None:
    beacon = chain.pallet.weights.beacon
    first = chain.storage.read("LastStoredRound", pallet="Drand")

    beacon.store(1_692_803_367_000 + (first + 299) * 3000)

    assert not beacon.has(first + 44)
    assert beacon.has(first + 45)
    assert chain.storage.read("OldestStoredRound", pallet="Drand") == first + 45
