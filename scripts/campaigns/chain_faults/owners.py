"""What the subnet's owner and the chain change in sixty days, each on a day of its own."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import bittensor as bt

from campaigns.chain_faults.world import NETUID
from gaia.localnet.chain.node import LocalChain
from gaia.localnet.owner import owner_call
from gaia.validator.utils.errors import TransientError

LONG_TEMPO: Final = 26
_PATIENCE_BLOCKS: Final = 200
_Act = Callable[[LocalChain], Awaitable[str]]
"""Changes something; returns what went wrong, or ""."""


def calendar(days: int, tempo: int, spec: int, chance: random.Random) -> dict[int, tuple[str, _Act]]:
    """Return day -> (name, act): ten calls of the owner in a fixed order, and two upgrades, on random days.

    Parameters
    ----------
    tempo
        Blocks of an epoch in the beginning.
    spec
        Version of the runtime in the beginning.
    """
    acts = list(_calls(tempo).items())
    for number in (1, 2):
        acts.insert(number * len(acts) // 3, (f"upgrade to spec {spec + number}", _upgrade(spec + number)))
    chosen = sorted(chance.sample(range(2, days), len(acts)))
    return dict(zip(chosen, acts, strict=True))


def _calls(tempo: int) -> Mapping[str, _Act]:
    admin = bt.calls.AdminUtils
    return {
        "sealed weights": _call(_commits(enabled=True)),
        "version key 4500": _call(
            admin.sudo_set_weights_version_key(netuid=NETUID, weights_version_key=4500)
        ),
        "reveals after 2 epochs": _call(
            admin.sudo_set_commit_reveal_weights_interval(netuid=NETUID, interval=2)
        ),
        f"tempo {LONG_TEMPO}": _call(admin.sudo_set_tempo(netuid=NETUID, tempo=LONG_TEMPO)),
        "plain weights": _call(_commits(enabled=False)),
        "an epoch at once": _call(bt.calls.SubtensorModule.trigger_epoch(netuid=NETUID)),
        "3 uids or more": _call(admin.sudo_set_min_allowed_weights(netuid=NETUID, min_allowed_weights=3)),
        "version key 5000": _call(
            admin.sudo_set_weights_version_key(netuid=NETUID, weights_version_key=5000)
        ),
        f"tempo {tempo}": _call(admin.sudo_set_tempo(netuid=NETUID, tempo=tempo)),
        "sealed weights again": _call(_commits(enabled=True)),
    }


def _commits(*, enabled: bool) -> Any:
    return bt.calls.AdminUtils.sudo_set_commit_reveal_weights_enabled(netuid=NETUID, enabled=enabled)


def _call(call: Any) -> _Act:
    async def act(chain: LocalChain) -> str:
        """Call until the chain takes it: rules do not change in the last blocks of an epoch."""
        told, last = "nothing", chain.block + _PATIENCE_BLOCKS
        while told and chain.block < last:
            try:
                told = await owner_call(chain.url, call, NETUID)
            except TransientError as error:
                told = str(error)
            await chain.wait_for_block(chain.block + 1)
        return told

    return act


def _upgrade(spec: int) -> _Act:
    async def act(chain: LocalChain) -> str:
        chain.upgrade(spec)
        await chain.wait_for_block(chain.block + 1)
        return ""

    return act
