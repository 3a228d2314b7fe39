"""Closes HTTP connections that nobody uses, and those of the signer to the chain that are old."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import structlog

if TYPE_CHECKING:
    from gaia.validator.utils.idle_connections import HoldsConnections
    from gaia.validator.utils.signer_messages import ChainRenewed

log = structlog.get_logger("performance")

_HOUR_S = 3600.0


class RenewsChain(Protocol):
    """Holds the connection to the chain."""

    async def renew_chain(self, max_age_s: float) -> ChainRenewed: ...


class ClientHealth:
    """Closes the idle connections of all HTTP clients.

    Between two rounds of requests no client closes its idle connections by itself. Each holds a
    descriptor, and the other side may have closed it long ago.

    Parameters
    ----------
    clients
        Name for the log -> client.
    """

    def __init__(self, clients: Mapping[str, HoldsConnections]) -> None:
        self._clients = clients

    async def monitor_client_health(self) -> None:
        """Close all idle connections, and log their number if there were any."""
        found = {name: await client.close_idle() for name, client in self._clients.items()}
        closed = {name: client.closed for name, client in found.items() if client.closed}
        if closed:
            in_use = sum(client.in_use for client in found.values())
            log.info("idle_connections_closed", closed=closed, in_use=in_use)


class SubstrateCleanup:
    """Has the signer's connection to the chain replaced when it is old.

    The chain SDK keeps types and blocks for each connection, and frees them with it.
    """

    def __init__(self, signer: RenewsChain, max_age_hours: float) -> None:
        self._signer = signer
        self._max_age_s = max_age_hours * _HOUR_S

    async def periodic_substrate_cleanup(self) -> None:
        """Ask for the replacement, and log what it freed.

        Raises
        ------
        TransientError
            If the signer or the chain does not answer; the old connection stays then.
        """
        renewed = await self._signer.renew_chain(self._max_age_s)
        if renewed.is_new:
            log.info(
                "chain_connection_renewed",
                age_s=round(renewed.age_s),
                resident_before_mib=round(renewed.resident_before_bytes / 2**20, 1),
                resident_after_mib=round(renewed.resident_after_bytes / 2**20, 1),
            )
