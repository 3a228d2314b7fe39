"""The chain as the commands read it: through all nodes of the settings at once."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gaia.validator.app.logging_config import configure_logging
from gaia.validator.utils.proxies import spare_loopback

if TYPE_CHECKING:
    from gaia.validator.core.chain.reader import ChainReader
    from gaia.validator.utils.settings.chain import ChainSettings


@asynccontextmanager
async def chain_of(settings: ChainSettings) -> AsyncIterator[ChainReader]:
    """Yield the chain as most of the nodes that answer tell it; say on stderr if that is one of several."""
    # Loads the chain's SDK, which `--help` does not need.
    from gaia.validator.core.chain.nodes.quorum import Quorum

    # The nodes' failures are for the validator's log; here a sentence says why there is no answer.
    configure_logging("CRITICAL", "console")
    spare_loopback(*settings.endpoints)
    chain = Quorum(settings.nodes, settings.chain_timeout_s)
    try:
        yield chain
        if not chain.is_confirmed:
            print("One node alone says this; no other confirms it.", file=sys.stderr)
    finally:
        await chain.close()
