"""What nodes prepare is compared in all but the era; what they say of a submission is weighed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import bittensor as bt
import pytest

from gaia.validator.core.chain.nodes.broadcast import _judged, _Prepared, _says_something

ERA, HASH = b"\x15\x02", bytes(range(32))


def _unsigned(**changes: Any) -> Any:
    era, first = changes.pop("era", ERA), changes.pop("first", HASH)
    usual = {
        "call_data": b"\x07\x77arguments",
        "nonce": 3,
        "included_in_extrinsic": era + b"\x0c\x00\x00",
        "included_in_signed_data": b"spec" + first + b"\x00",
        "era_block_hash": "0x" + first.hex(),
        "payload_json": {"era": "0x" + era.hex()},
        "genesis_hash": "0xaa",
        "spec_version": 461,
        "transaction_version": 1,
        "era": {"period": 64, "current": 90},
    } | changes
    payload = usual["call_data"] + usual["included_in_extrinsic"] + usual["included_in_signed_data"]
    return SimpleNamespace(**{"payload": payload} | usual)


def test_nodes_with_other_newest_blocks_prepare_alike() -> None:
    assert repr(_Prepared(_unsigned())) == repr(_Prepared(_unsigned(era=b"\x25\x02", first=bytes(32))))


@pytest.mark.parametrize(
    "changes",
    [
        {"call_data": b"\x07\x78arguments"},
        {"call_data": b"\x07\x77argumentz"},
        {"nonce": 4},
        {"genesis_hash": "0xbb"},
        {"spec_version": 462},
        {"transaction_version": 2},
        {"included_in_extrinsic": b"\x0c\x00\x00" + ERA},
        {"included_in_signed_data": HASH + b"spec\x00"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_everything_else_must_be_the_same_and_at_its_place(changes: dict[str, Any]) -> None:
    assert repr(_Prepared(_unsigned())) != repr(_Prepared(_unsigned(**changes)))


def test_bytes_to_sign_must_be_the_parts_that_were_compared() -> None:
    assert _Prepared(_unsigned()).is_whole
    assert not _Prepared(_unsigned(payload=b"another")).is_whole


def _result(*, success: bool, name: str = "", block_hash: str | None = None) -> bt.ExtrinsicResult:
    error = bt.ChainError("said so", name) if name else None
    return bt.ExtrinsicResult(success=success, message=name, block_hash=block_hash, error=error)


@pytest.mark.parametrize("name", ["AlreadyImported", "PriorityTooLow", "Stale"])
def test_node_that_has_it_already_says_nothing_of_it(name: str) -> None:
    assert not _says_something(_result(success=False, name=name))
    assert _says_something(_result(success=False, name="BadProof"))
    assert _says_something(_result(success=True))


@pytest.mark.parametrize(
    ("said", "success"),
    [([True, True, False], True), ([True, False, False], False), ([True, False], True), ([False], False)],
)
def test_most_answers_decide_and_a_tie_is_looked_up_on_chain(said: list[bool], success: bool) -> None:
    results = {str(number): _result(success=each) for number, each in enumerate(said)}

    assert _judged(results).success is success
