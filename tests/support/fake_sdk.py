"""Stands for the chain SDK: a subnet that a test changes, and a submission that it decides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import bittensor as bt
import pytest

from gaia.validator.core.chain.client import ChainClient
from gaia.validator.utils.identities import Hotkey

OWN, OTHER = Hotkey("5Own"), "5Other"
NOBODY = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"
WALLET: Any = SimpleNamespace(
    hotkey=SimpleNamespace(ss58_address=OWN, crypto_type=1, sign=lambda payload: b"signed " + payload)
)
SPEC = 461
EPOCHS = {"SubnetEpochIndex": 4, "LastEpochBlock": 70, "PendingEpochAt": 0, "Tempo": 360}
Submit = Callable[["FakeSdk"], Awaitable[Any]]


def graph(**changes: Any) -> dict[str, Any]:
    axon = {"ip": 2130706434, "port": 8001, "ip_type": 4}
    return {
        "block": 77,
        "hotkeys": [OWN, OTHER],
        "coldkeys": ["5Cold", "5Cold"],
        "axons": [{"ip": 0, "port": 0, "ip_type": 0}, axon],
        "total_stake": [2_500_000_000, 0],
        "validator_permit": [True, False],
        "last_update": [70, 0],
        "block_at_registration": [1, 2],
        "tempo": 360,
        "weights_rate_limit": 100,
        "min_allowed_weights": 8,
        "max_weights_limit": 32767,
        "weights_version": 3,
        "commit_reveal_weights_enabled": True,
        "owner_hotkey": OTHER,
        "dividends": [13107, 0],
        "emission": [1_500_000_000, 0],
    } | changes


class FakeSdk:
    """Stands for `bittensor.Client`: storage the test can change, and a submission it decides."""

    def __init__(self, submit: Submit) -> None:
        own = {
            "Uids": 0,
            "LastUpdate": [5, 0],
            "Weights": [],
            "BlocksSinceLastStep": 7,
            "Account": {"nonce": 3},
            "StakeThreshold": 0,
            "MechanismCountCurrent": 1,
            "LastStoredRound": 0,
            "CommitRevealWeightsVersion": 4,
        }
        self.storage: dict[str, Any] = own | EPOCHS
        self.graph: Any = graph()
        self.asked_at: list[int | None] = []
        self.runtime_version: Any = {"specVersion": SPEC}
        self.options: dict[str, Any] = {}
        """Options of the last submission."""
        self._submit = submit

    async def query(self, item: tuple[str, str], parameters: list[Any], *, block: int | None = None) -> Any:
        self.asked_at.append(block)
        value = self.storage[item[1]]
        if isinstance(value, Exception):
            raise value
        return value

    async def runtime(
        self, method: tuple[str, str], parameters: list[Any], *, block: int | None = None
    ) -> Any:
        return self.graph

    async def prepare_call(self, call: Any, **options: Any) -> Any:
        self.options = options
        return SimpleNamespace(payload=b"payload", spec_version=SPEC)

    @property
    def raw(self) -> FakeSdk:
        """The SDK's access to the node's methods."""
        return self

    async def rpc_request(self, method: str, parameters: list[Any]) -> Any:
        assert method == "state_getRuntimeVersion"
        return self.runtime_version

    async def submit_signature(self, unsigned: Any, signature: bytes) -> Any:
        assert signature == b"signed " + unsigned.payload
        return await self._submit(self)

    async def block(self) -> int:
        return 9

    async def wait_for_block(self, number: int) -> None:
        return

    async def block_hash(self, number: int) -> str:
        return f"0x{number:02x}"

    async def close(self) -> None:
        return

    def land(self, block: int = 8, pairs: Any = ((1, 65535), (2, 300))) -> None:
        self.storage["LastUpdate"] = [block, 0]
        self.storage["Weights"] = pairs


async def included(sdk: FakeSdk) -> Any:
    sdk.land()
    return bt.ExtrinsicResult(success=True, block_hash="0xaa", extrinsic_id="8-0002")


async def connection_lost_after_landing(sdk: FakeSdk) -> Any:
    sdk.land()
    raise bt.RpcConnectionError("connection lost")


async def usurped_after_landing(sdk: FakeSdk) -> Any:
    sdk.land()
    return bt.ExtrinsicResult(success=False, message="dropped", error=bt.ChainError("dropped", "Dropped"))


async def lost(sdk: FakeSdk) -> Any:
    raise bt.RpcConnectionError("connection lost")


async def never(sdk: FakeSdk) -> Any:
    await asyncio.Event().wait()


async def unthinkable(sdk: FakeSdk) -> Any:
    pytest.fail("something was submitted")


def refused(name: str, block_hash: str | None = "0xaa") -> Submit:
    async def submit(sdk: FakeSdk) -> Any:
        error = bt.ChainError("refused", name)
        return bt.ExtrinsicResult(success=False, message="refused", block_hash=block_hash, error=error)

    return submit


def chain_of(sdk: FakeSdk, timeout_s: float = 60.0) -> ChainClient:
    client: Any = sdk
    return ChainClient(client, client, timeout_s)
