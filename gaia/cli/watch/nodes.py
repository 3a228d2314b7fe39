"""Reads the metagraph from the first of several nodes that answers and is not behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gaia.cli.watch.findings import STANDS_STILL_S, Finding, judged, unreadable
from gaia.validator.utils.errors import GaiaError

if TYPE_CHECKING:
    from gaia.validator.utils.identities import Hotkey
    from gaia.validator.utils.ipc_types import Metagraph


class Nodes:
    """The nodes that are asked, in the operator's order.

    Parameters
    ----------
    timeout_s
        Seconds for each step of a reading.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        netuid: int,
        timeout_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoints = endpoints
        self._netuid = netuid
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._newest_block = 0
        self._newest_at = monotonic()

    async def look(self, hotkey: Hotkey, older_than: int) -> Finding:
        """Return the finding of the first node whose blocks go on; else that no node can be read."""
        reasons = []
        for endpoint in self._endpoints:
            try:
                metagraph = await self._read(endpoint)
            except GaiaError as error:
                reasons.append(str(error))
                continue
            if self._goes_on(metagraph.block):
                return judged(metagraph, hotkey, older_than)
            reasons.append(f"{endpoint} stands at block {metagraph.block}")
        return unreadable(reasons)

    async def _read(self, endpoint: str) -> Metagraph:
        # Loads the chain's SDK, which `--help` does not need.
        from gaia.validator.core.chain.client import ChainClient
        from gaia.validator.utils.proxies import spare_loopback

        spare_loopback(endpoint)
        chain = await ChainClient.connect(endpoint, self._timeout_s)
        try:
            return await chain.metagraph(self._netuid, "")
        finally:
            await chain.close()

    def _goes_on(self, block: int) -> bool:
        now = self._monotonic()
        if block > self._newest_block:
            self._newest_block, self._newest_at = block, now
            return True
        return now - self._newest_at < STANDS_STILL_S
