"""Reads the metagraph from the first of several nodes that answers and has new blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gaia.cli.watch.findings import STANDS_STILL_S, Finding, judged, standing, unreadable
from gaia.validator.utils.errors import GaiaError

if TYPE_CHECKING:
    from gaia.validator.utils.chain.metagraph import Metagraph
    from gaia.validator.utils.identities import Hotkey


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
        """Return the finding of the first node whose blocks go on; else why no node is believed."""
        reasons, has_answer = [], False
        for endpoint in self._endpoints:
            try:
                metagraph, time_of_head = await self._read(endpoint)
            except GaiaError as error:
                reasons.append(str(error))
                continue
            doubt = self._doubt(metagraph.block, time_of_head)
            if not doubt:
                return judged(metagraph, hotkey, older_than)
            reasons.append(f"{endpoint} {doubt}")
            has_answer = True
        return standing(reasons) if has_answer else unreadable(reasons)

    async def _read(self, endpoint: str) -> tuple[Metagraph, datetime]:
        """Return the subnet at the newest block, and that block's time."""
        # Loads the chain's SDK, which `--help` does not need.
        from gaia.validator.core.chain.client import ChainClient
        from gaia.validator.utils.proxies import spare_loopback

        spare_loopback(endpoint)
        chain = await ChainClient.connect(endpoint, self._timeout_s)
        try:
            metagraph = await chain.metagraph(self._netuid, "")
            return metagraph, await chain.time_of(metagraph.block)
        finally:
            await chain.close()

    def _doubt(self, block: int, time_of_head: datetime) -> str:
        """Return why a node is not believed; "" if it is.

        A single look knows the newest block's time only; a longer watch needs no clock that is right.
        """
        age_s = (datetime.now(UTC) - time_of_head).total_seconds()
        if age_s > STANDS_STILL_S:
            return f"stands at block {block}, which is {age_s:.0f} s old"
        if age_s < -STANDS_STILL_S:
            return f"has block {block}, which is {-age_s:.0f} s in the future"
        return "" if self._goes_on(block) else f"stands at block {block}"

    def _goes_on(self, block: int) -> bool:
        now = self._monotonic()
        if block > self._newest_block:
            self._newest_block, self._newest_at = block, now
            return True
        return now - self._newest_at < STANDS_STILL_S
