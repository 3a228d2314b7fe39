"""Calls of the subnet's owner on a local chain, signed and sent as a person with that key does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from gaia.localnet.chain.node import OWNER_URI
from gaia.localnet.wallets import keypair
from gaia.validator.core.chain.client import ChainClient

if TYPE_CHECKING:
    import bittensor as bt

_TIMEOUT_S: Final = 20.0


async def owner_call(url: str, call: Any, netuid: int, timeout_s: float = _TIMEOUT_S) -> str:
    """Submit a call as the owner; return "" or the name of its refusal.

    Parameters
    ----------
    url
        Websocket URL of a node of the local chain.
    call
        A call of `bt.calls`, such as ``bt.calls.AdminUtils.sudo_set_min_allowed_weights(...)``.

    Raises
    ------
    TransientError
        If the node does not answer.
    """
    chain = await ChainClient.connect(url, timeout_s)
    wallet: Any = SimpleNamespace(hotkey=keypair(OWNER_URI))
    try:
        schedule = await chain.schedule(netuid, await chain.head())
        unsigned = await chain.prepare(
            call, wallet, schedule.era_blocks() or 4, await chain.nonce(wallet.hotkey.ss58_address)
        )
        result: bt.ExtrinsicResult = await chain.send(unsigned, bytes(wallet.hotkey.sign(unsigned.payload)))
    finally:
        await chain.close()
    if result.success:
        return ""
    return (result.error.name if result.error is not None else None) or result.message
