"""Our own encoding of the calls that we sign is that of the chain's metadata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaia.localnet.chain.runtime import ChainRuntime
from gaia.validator.core.chain.calls import COMMIT, INDEX_BYTES, SET, arguments_of

RUNTIME = ChainRuntime.load()
U16, U64 = st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(U16, U16), max_size=300), U64, U16)
def test_weights_are_encoded_as_the_runtime_does(
    pairs: list[tuple[int, int]], version_key: int, netuid: int
) -> None:
    parameters = {
        "netuid": netuid,
        "mecid": 0,
        "dests": [uid for uid, _ in pairs],
        "weights": [weight for _, weight in pairs],
        "version_key": version_key,
    }

    whole = RUNTIME.compose_call("SubtensorModule", SET, parameters)

    assert arguments_of(SET, parameters) == whole[INDEX_BYTES:]


@given(st.binary(max_size=5000), U64)
def test_commits_are_encoded_as_the_runtime_does(sealed: bytes, reveal_round: int) -> None:
    parameters = {
        "netuid": 57,
        "mecid": 0,
        "commit": "0x" + sealed.hex(),
        "reveal_round": reveal_round,
        "commit_reveal_version": 4,
    }

    whole = RUNTIME.compose_call("SubtensorModule", COMMIT, parameters)

    assert arguments_of(COMMIT, parameters) == whole[INDEX_BYTES:]


def test_other_calls_are_not_ours_to_sign() -> None:
    with pytest.raises(ValueError, match="transfer"):
        arguments_of("transfer", {"netuid": 57, "mecid": 0})
