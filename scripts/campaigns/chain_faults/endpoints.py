"""Faults of the nodes through which the chain is read: silence, refusals, and one that lies."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gaia.localnet.chain.lies import refusal, result, silence

if TYPE_CHECKING:
    from gaia.localnet.chain.endpoint import Endpoint
    from gaia.localnet.chain.node import LocalChain

_SUBMIT = "author_submitAndWatchExtrinsic"
_METAGRAPH = "SubnetInfoRuntimeApi_get_metagraph"
_READS = (
    "chain_getHeader",
    "chain_getBlockHash",
    "state_getStorage",
    "state_getStorageAt",
    "state_call",
    "system_accountNextIndex",
)
_End = Callable[[], Awaitable[None]]


class Nodes:
    """Three nodes of one chain. Only the last one ever lies, because two of three liars are the majority."""

    def __init__(self, chain: LocalChain, endpoints: Sequence[Endpoint], netuid: int) -> None:
        self._chain = chain
        self.endpoints = endpoints
        self._netuid = netuid
        self._ends: list[_End] = []

    async def trouble(self, chance: random.Random) -> list[str]:
        """Begin faults at none, one or two of the nodes; return their names."""
        count = chance.choice((0, 1, 1, 2))
        if count and chance.random() < 0.3:
            name = chance.choice(sorted(_LIES))
            self._lie(self.endpoints[-1], name)
            return [name]
        names = []
        for endpoint in chance.sample(self.endpoints, count):
            name = chance.choice(sorted(_FAULTS))
            self._ends.append(await _FAULTS[name](endpoint))
            names.append(name)
        return names

    async def recover(self) -> None:
        """End all faults."""
        for end in self._ends:
            await end()
        self._ends.clear()
        for endpoint in self.endpoints:
            endpoint.lies.end()

    def _lie(self, endpoint: Endpoint, name: str) -> None:
        item, parameters = _LIES[name]
        key = self._chain.key_of(item, self._netuid, *parameters) if item != _METAGRAPH else item
        told = "0x00" if item == _METAGRAPH else None
        endpoint.lies.tell(key, result(told), times=None)


async def _nothing() -> None:
    return


async def _closed(endpoint: Endpoint) -> _End:
    place = urlsplit(endpoint.url)
    await endpoint.close()

    async def end() -> None:
        await endpoint.open(place.hostname or "127.0.0.1", place.port or 0)

    return end


async def _stands(endpoint: Endpoint) -> _End:
    endpoint.view.stands_at = endpoint.view.head.number

    async def end() -> None:
        endpoint.view.stands_at = None

    return end


async def _silent(endpoint: Endpoint) -> _End:
    for method in (*_READS, _SUBMIT):
        endpoint.lies.tell(method, silence, times=None)
    return _nothing


def _about_submissions(
    answer: Callable[[object], object], *, acts: bool
) -> Callable[[Endpoint], Awaitable[_End]]:
    async def begin(endpoint: Endpoint) -> _End:
        endpoint.lies.tell(_SUBMIT, answer, times=None, acts=acts)
        return _nothing

    return begin


_FAULTS: Final[dict[str, Callable[[Endpoint], Awaitable[_End]]]] = {
    "closed": _closed,
    "stands_still": _stands,
    "silent": _silent,
    "takes_and_is_silent": _about_submissions(silence, acts=True),
    "drops_and_is_silent": _about_submissions(silence, acts=False),
    "refuses": _about_submissions(
        refusal(1010, "Invalid Transaction", "Transaction is outdated"), acts=False
    ),
    "takes_and_refuses": _about_submissions(refusal(1010, "Invalid Transaction"), acts=True),
    "bans": _about_submissions(refusal(1012, "Transaction is temporarily banned"), acts=False),
    "knows_it": _about_submissions(refusal(1013, "Transaction is already imported"), acts=True),
}
"""Fault of an honest node -> begins it, and returns what ends it."""
_LIES: Final[dict[str, tuple[str, tuple[int, ...]]]] = {
    "denies_weights": ("Weights", (0,)),
    "denies_update": ("LastUpdate", ()),
    "garbles_metagraph": (_METAGRAPH, ()),
}
"""Lie -> what it is about."""
NAMES: Final = (*_FAULTS, *_LIES)
