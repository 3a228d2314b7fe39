"""Faults by the subnet's owner: a rule that our weights do not meet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import bittensor as bt

from gaia.localnet.options import NETUID
from gaia.localnet.owner import owner_call
from gaia.validator.utils.errors import TransientError

if TYPE_CHECKING:
    from monitored.faults.scene import Ground

_EVERYBODY: Final = 256
"""Least number of uids in a vector, more than any rehearsal pays; the chain takes as many as it has."""


@asynccontextmanager
async def strict_owner(scene: Ground) -> AsyncIterator[None]:
    """Let the owner demand that each vector names every uid."""
    await _demand(scene, _EVERYBODY)
    try:
        yield
    finally:
        await _demand(scene, 1)


async def _demand(scene: Ground, least: int) -> None:
    assert scene.subnet.settings is not None
    url = scene.subnet.settings.chain_endpoint
    call = bt.calls.AdminUtils.sudo_set_min_allowed_weights(netuid=NETUID, min_allowed_weights=least)

    async def is_changed() -> bool:
        try:
            # Near the end of an epoch, and soon after a change, the chain lets nobody change a rule.
            return not await owner_call(url, call, NETUID)
        except TransientError:
            return False

    await scene.until(is_changed, 60.0, f"the owner's demand of {least} uids")
