"""Tests of the codec against what the SDK's authors recorded from a real node."""

from __future__ import annotations

import json
import lzma
from typing import Any

import pytest

from gaia.localnet.chain.runtime import GOLDEN, ChainRuntime


@pytest.fixture(scope="module")
def golden() -> Any:
    with lzma.open(GOLDEN) as stream:
        return json.load(stream)


@pytest.fixture(scope="module")
def runtime() -> ChainRuntime:
    return ChainRuntime.load()


def test_storage_keys_are_those_of_a_real_node(golden: Any, runtime: ChainRuntime) -> None:
    for vector in golden["storage_keys"]:
        key = runtime.storage_key(vector["pallet"], vector["storage_function"], vector["params"])
        assert "0x" + key.hex() == vector["key_hex"]


def test_calls_encode_as_the_sdk_encoded_them(golden: Any, runtime: ChainRuntime) -> None:
    for vector in golden["calls"]:
        if "params_json" not in vector and vector["module"] in ("Balances", "SubtensorModule"):
            call = runtime.compose_call(vector["module"], vector["function"], vector["params"])
            assert "0x" + call.hex() == vector["data_hex"]


def test_stored_values_of_a_real_node_survive_the_codec(golden: Any, runtime: ChainRuntime) -> None:
    for vector in golden["storage_values"]:
        if vector["raw_hex"] is None:
            continue
        raw = bytes.fromhex(vector["raw_hex"][2:])
        entry = runtime.storage_entry(vector["pallet"], vector["storage_function"])
        assert runtime.encode(entry.value_type, runtime.decode(entry.value_type, raw)) == raw


@pytest.mark.parametrize(
    "api", ["SubnetInfoRuntimeApi", "NeuronInfoRuntimeApi", "StakeInfoRuntimeApi", "DelegateInfoRuntimeApi"]
)
def test_every_runtime_api_can_be_answered_with_a_neutral_value(runtime: ChainRuntime, api: str) -> None:
    for described in runtime.api_map[api].values():
        neutral = runtime.zero_of(described["output"])
        encoded = runtime.encode(described["output"], neutral)
        assert runtime.encode(described["output"], runtime.decode(described["output"], encoded)) == encoded


def test_a_dispatch_error_carries_the_index_the_runtime_gives_it(runtime: ChainRuntime) -> None:
    error = runtime.module_error("SubtensorModule", "SettingWeightsTooFast")
    index = int(error["Module"]["error"][2:4], 16)
    assert "SettingWeightsTooFast" in str(runtime.codec.module_error(error["Module"]["index"], index))
