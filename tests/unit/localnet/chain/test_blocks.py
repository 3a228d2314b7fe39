"""Tests of extrinsics and blocks: what the pool refuses, what a block records, what is kept."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import pytest

from gaia.localnet.chain.apis import RuntimeApis
from gaia.localnet.chain.blocks import (
    KEPT_BLOCKS,
    BlockChain,
    StateDiscardedError,
)
from gaia.localnet.chain.calls import DispatchError
from gaia.localnet.chain.endpoint import NodeView
from gaia.localnet.chain.extrinsics import (
    AlreadyImportedError,
    InvalidTransactionError,
    PriorityTooLowError,
)
from gaia.localnet.chain.rpc import RpcMethods
from gaia.localnet.wallets import VALIDATOR_URI
from tests.support.subnet import NETUID, VALIDATOR, block_chain, signed_call

_VECTOR: dict[str, Any] = {"netuid": NETUID, "mecid": 0, "dests": [1, 2], "weights": [9, 3], "version_key": 0}


@pytest.fixture
def chain() -> BlockChain:
    return block_chain()


def _set_weights(chain: BlockChain, **options: Any) -> bytes:
    return signed_call(chain, VALIDATOR_URI, "set_mechanism_weights", _VECTOR, **options)


def _events(chain: BlockChain) -> str:
    return str(chain.storage.read("Events", pallet="System"))


def test_a_valid_extrinsic_is_applied_in_the_next_block(chain: BlockChain) -> None:
    chain.submit(_set_weights(chain))
    block = chain.seal()

    assert block.number == 1
    assert chain.storage.read("Weights", NETUID, 0) == [(1, 65535), (2, 21845)]
    assert "WeightsSet" in _events(chain)
    assert chain.next_nonce(VALIDATOR) == 1


def test_a_refused_call_changes_nothing_but_the_nonce(chain: BlockChain) -> None:
    chain.submit(signed_call(chain, VALIDATOR_URI, "set_mechanism_weights", _VECTOR | {"dests": [1, 1]}))
    chain.seal()

    assert chain.storage.read("Weights", NETUID, 0) == []
    assert "ExtrinsicFailed" in _events(chain)
    assert chain.next_nonce(VALIDATOR) == 1


def test_a_call_of_another_pallet_is_filtered(chain: BlockChain) -> None:
    arguments = {"now": 5}
    chain.submit(signed_call(chain, VALIDATOR_URI, "set", arguments, pallet="Timestamp"))
    chain.seal()
    assert "ExtrinsicFailed" in _events(chain)


def test_anybody_may_remark(chain: BlockChain) -> None:
    chain.submit(signed_call(chain, VALIDATOR_URI, "remark", {"remark": "0x00"}, pallet="System"))
    chain.seal()

    assert "ExtrinsicFailed" not in _events(chain)
    assert chain.next_nonce(VALIDATOR) == 1


def test_a_mortal_extrinsic_is_bound_to_its_birth_block(chain: BlockChain) -> None:
    for _ in range(70):
        chain.seal()
    birth_hash = chain.hash_of(66)
    era = {"period": 64, "current": 66}

    chain.submit(_set_weights(chain, era=era, era_hash=birth_hash))
    with pytest.raises(InvalidTransactionError, match="bad signature"):
        chain.submit(_set_weights(chain, era=era, era_hash=chain.hash_of(65)))


def test_a_number_that_a_block_includes_is_outdated(chain: BlockChain) -> None:
    chain.submit(_set_weights(chain))
    chain.seal()
    chain.storage.write("WeightsSetRateLimit", NETUID, value=0)

    with pytest.raises(InvalidTransactionError, match="outdated"):
        chain.submit(_set_weights(chain, nonce=0))


def _remark(chain: BlockChain, nonce: int, word: str = "0x00") -> bytes:
    return signed_call(chain, VALIDATOR_URI, "remark", {"remark": word}, pallet="System", nonce=nonce)


def test_a_number_that_waits_in_the_pool_keeps_its_extrinsic(chain: BlockChain) -> None:
    remark = _remark(chain, 0)
    chain.submit(remark)

    with pytest.raises(PriorityTooLowError):
        chain.submit(_remark(chain, 0, "0x01"))
    with pytest.raises(AlreadyImportedError):
        chain.submit(remark)


def test_an_extrinsic_waits_until_the_numbers_before_its_own_have_come(chain: BlockChain) -> None:
    second = chain.submit(_remark(chain, 1))
    assert not chain.is_ready(second)
    assert chain.seal().signed == ()
    assert chain.next_nonce(VALIDATOR) == 0

    first = chain.submit(_remark(chain, 0))

    assert chain.fates == [(second, "ready")]
    assert chain.next_nonce(VALIDATOR) == 2
    assert sorted(chain.pending(), key=lambda each: each.nonce) == [first, second]
    assert chain.seal().signed == (first, second)


def test_an_aged_extrinsic_leaves_the_pool(chain: BlockChain) -> None:
    era = {"period": 4, "current": 0}
    waiting = signed_call(
        chain,
        VALIDATOR_URI,
        "remark",
        {"remark": "0x00"},
        pallet="System",
        nonce=1,
        era=era,
        era_hash=chain.genesis_hash,
    )
    extrinsic = chain.submit(waiting)

    for _ in range(3):
        chain.seal()
    assert chain.fates == []
    chain.seal()

    assert chain.fates == [(extrinsic, "invalid")]
    chain.submit(_remark(chain, 1))  # the number is free again


@pytest.mark.parametrize(
    ("item", "parameters", "value", "code"),
    [("StakeThreshold", (), 10**15, 1), ("WeightsSetRateLimit", (NETUID,), 100, 6)],
)
def test_the_pool_refuses_by_number_what_the_runtime_checks_before_a_block(
    chain: BlockChain, item: str, parameters: tuple[Any, ...], value: int, code: int
) -> None:
    chain.submit(_set_weights(chain))
    chain.seal()
    chain.storage.write(item, *parameters, value=value)

    with pytest.raises(InvalidTransactionError, match=f"Custom error: {code}$"):
        chain.submit(_set_weights(chain))


def test_a_call_that_the_runtime_no_longer_takes_leaves_the_pool_without_a_block(chain: BlockChain) -> None:
    extrinsic = chain.submit(_set_weights(chain))
    chain.storage.write("StakeThreshold", value=10**15)

    assert chain.seal().signed == ()
    assert chain.fates == [(extrinsic, "invalid")]
    assert chain.next_nonce(VALIDATOR) == 0


def test_a_fork_takes_blocks_back_with_their_state_and_returns_their_extrinsics() -> None:
    chain = block_chain(finality_lag=2)
    chain.seal()
    extrinsic = chain.submit(_set_weights(chain))
    block = chain.seal()
    assert (block.signed, chain.finalized.number) == ((extrinsic,), 0)

    assert chain.retract(1) == [block]
    assert chain.storage.read("Weights", NETUID, 0) == []
    assert chain.hash_of(block.number) is None
    again = chain.seal()

    assert (again.number, again.signed) == (block.number, (extrinsic,))
    assert chain.storage.read("Weights", NETUID, 0) != []
    chain.retract(1, keep=False)
    assert chain.seal().signed == ()


def test_an_upgrade_ends_what_was_signed_for_the_runtime_of_before() -> None:
    chain = block_chain(finality_lag=2)
    waiting = chain.submit(_set_weights(chain, nonce=1))
    chain.upgrade(462)

    block = chain.seal()

    assert (block.spec_version, chain.fates) == (462, [(waiting, "invalid")])
    with pytest.raises(InvalidTransactionError, match="bad signature"):
        chain.submit(waiting.raw)
    chain.retract(1)
    assert (chain.head.spec_version, chain.runtime.spec_version) == (461, 461)
    assert chain.submit(waiting.raw).raw == waiting.raw


def test_a_final_block_is_never_taken_back() -> None:
    chain = block_chain(finality_lag=2)
    for _ in range(5):
        chain.seal()
    assert chain.finalized.number == 3

    with pytest.raises(ValueError, match="some are final"):
        chain.retract(3)
    chain.retract(2)

    assert (chain.head.number, chain.finalized.number) == (3, 3)


def test_the_next_call_is_refused_under_any_name_of_the_runtime(chain: BlockChain) -> None:
    for name, pallet in (("CallDisabled", "SubtensorModule"), ("BadOrigin", "System")):
        chain.refusals.append(DispatchError(name, pallet))
        chain.submit(_remark(chain, chain.next_nonce(VALIDATOR)))
        chain.seal()
        assert "ExtrinsicFailed" in _events(chain)
    assert "BadOrigin" in _events(chain)


def test_a_forged_signature_is_refused(chain: BlockChain) -> None:
    forged = bytearray(_set_weights(chain))
    forged[50] ^= 1
    with pytest.raises(InvalidTransactionError, match="bad signature"):
        chain.submit(bytes(forged))


def test_bytes_that_are_no_extrinsic_are_refused(chain: BlockChain) -> None:
    with pytest.raises(InvalidTransactionError):
        chain.submit(b"\x10\x84abc")


def test_a_block_hash_is_that_of_the_scale_header(chain: BlockChain) -> None:
    block = chain.seal()
    header = block.header
    encoded = bytes.fromhex(header["parentHash"][2:]) + bytes([block.number << 2])
    encoded += bytes.fromhex(header["stateRoot"][2:] + header["extrinsicsRoot"][2:]) + b"\x00"
    assert block.hash == "0x" + blake2b(encoded, digest_size=32).hexdigest()
    assert header["parentHash"] == chain.genesis_hash


def test_only_the_last_blocks_are_kept_though_hashes_are_known_longer(chain: BlockChain) -> None:
    first = chain.seal().hash
    for _ in range(KEPT_BLOCKS):
        chain.seal()

    with pytest.raises(StateDiscardedError):
        chain.block(first)
    assert chain.hash_of(1) == first
    assert chain.hash_of(0) == chain.genesis_hash
    assert chain.hash_of(chain.head.number + 1) is None


def test_the_state_of_an_earlier_block_is_answered_as_it_was(chain: BlockChain) -> None:
    before = chain.head
    chain.submit(_set_weights(chain))
    chain.seal()
    graphs = []
    for block in (before, chain.head):
        answer = RuntimeApis(chain.runtime, block).call(
            "SubnetInfoRuntimeApi_get_metagraph", NETUID.to_bytes(2, "little")
        )
        output = chain.runtime.api_map["SubnetInfoRuntimeApi"]["get_metagraph"]["output"]
        graphs.append(chain.runtime.decode(output, answer))
    assert [graph["last_update"][0] for graph in graphs] == [0, 1]


def test_a_subnet_that_is_not_there_has_no_metagraph(chain: BlockChain) -> None:
    answer = RuntimeApis(chain.runtime, chain.head).call("SubnetInfoRuntimeApi_get_metagraph", b"\x03\x00")
    assert answer == b"\x00"


def test_the_node_answers_what_clients_ask_of_it(chain: BlockChain) -> None:
    methods = RpcMethods(NodeView(chain))
    head = chain.head.hash
    key = "0x" + chain.runtime.storage_key("SubtensorModule", "Tempo", [NETUID]).hex()

    assert methods.call("chain_getHead", []) == head
    assert methods.call("chain_getBlockHash", []) == head
    assert methods.call("chain_getBlockHash", [0]) == head
    assert methods.call("chain_getBlock", [head])["block"]["header"] == methods.call("chain_getHeader", [])
    assert methods.call("state_getStorage", [key]) == "0x0a00"
    assert methods.call("state_queryStorageAt", [[key]])[0]["changes"] == [[key, "0x0a00"]]
    assert methods.call("state_getKeysPaged", [key, 10]) == [key]
    assert methods.call("state_getKeysPaged", [key, 10, key]) == []
    assert methods.call("system_accountNextIndex", [VALIDATOR]) == 0
    assert "state_call" in methods.call("rpc_methods", [])["methods"]
    assert methods.call("state_getRuntimeVersion", [])["specVersion"] == 461
    assert methods.call("system_health", [])["isSyncing"] is False
    assert len(methods.call("author_submitExtrinsic", ["0x" + _set_weights(chain).hex()])) == 66


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("NeuronInfoRuntimeApi_get_neurons_lite", NETUID.to_bytes(2, "little")),
        ("SubnetInfoRuntimeApi_get_subnet_hyperparams_v2", NETUID.to_bytes(2, "little")),
        ("SubnetInfoRuntimeApi_get_next_epoch_start_block", NETUID.to_bytes(2, "little")),
        ("SubnetInfoRuntimeApi_get_selective_metagraph", NETUID.to_bytes(2, "little") + b"\x00"),
        ("SubnetInfoRuntimeApi_get_all_dynamic_info", b""),
    ],
)
def test_runtime_apis_answer_what_their_type_says(chain: BlockChain, name: str, data: bytes) -> None:
    api, method = name.split("_", 1)
    answer = RuntimeApis(chain.runtime, chain.head).call(name, data)
    assert chain.runtime.decode(chain.runtime.api_map[api][method]["output"], answer) is not None


def test_the_nonce_and_fee_apis_answer(chain: BlockChain) -> None:
    apis = RuntimeApis(chain.runtime, chain.head)
    account = chain.runtime.encode("scale_info::0", VALIDATOR)
    assert apis.call("AccountNonceApi_account_nonce", account) == b"\x00\x00\x00\x00"
    assert apis.call("TransactionPaymentApi_query_info", b"")
    assert apis.call("Metadata_metadata_at_version", b"\x0f\x00\x00\x00")[0] == 1


def test_a_runtime_api_or_method_that_does_not_exist_is_a_lookup_error(chain: BlockChain) -> None:
    with pytest.raises(LookupError):
        RuntimeApis(chain.runtime, chain.head).call("Nonsense_at_all", b"")
    with pytest.raises(LookupError):
        RpcMethods(NodeView(chain)).call("chain_getPudding", [])


def test_node_that_stands_still_has_its_block_when_the_chain_has_forgotten_it() -> None:
    chain = block_chain()
    chain.seal()
    view = NodeView(chain)
    view.stands_at = chain.head.number
    assert view.head == view.finalized == chain.head

    for _ in range(KEPT_BLOCKS + 1):
        chain.seal()

    assert (view.head.number, view.finalized.number) == (1, 1)
    assert view.block(view.head.hash) == view.head
