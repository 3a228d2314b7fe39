"""Signs once what most nodes prepare alike, and sends the same bytes to all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import structlog

from gaia.validator.core.chain.calls import INDEX_BYTES, arguments_of
from gaia.validator.core.chain.nodes.ballot import Ballot
from gaia.validator.core.chain.nodes.standing import AT_HEAD
from gaia.validator.utils.errors import NodesDisagree, TransientError

if TYPE_CHECKING:
    import bittensor as bt
    from bittensor import UnsignedExtrinsic

    from gaia.validator.core.chain.client import ChainClient
    from gaia.validator.core.chain.epochs import EpochSchedule
    from gaia.validator.core.chain.nodes.node import ChainNode
    from gaia.validator.core.chain.nodes.quorum import Quorum

_REST_S = 2.0
"""Seconds that the other nodes have to contradict one that calls our extrinsic final; a false one is found out."""
_KNOWN_ALREADY = frozenset({"AlreadyImported", "PriorityTooLow", "Stale"})
"""Names of a pool's refusals of an extrinsic that it has already, or whose number a block includes."""
_LARGEST_PLAIN = 256
"""Bytes of a payload above which its digest is signed."""
_PREPARING = "what is to be signed"
log = structlog.get_logger(__name__)


class _Prepared:
    """What one node would have us sign; equal to that of another node if only the era's first block differs."""

    def __init__(self, unsigned: UnsignedExtrinsic) -> None:
        self.unsigned = unsigned

    def __repr__(self) -> str:
        return repr((self.unsigned.call_data, self.unsigned.nonce, self.frame))

    @property
    def frame(self) -> tuple[bytes, ...]:
        """All that is signed beside the arguments and the number, with names in the place of the era."""
        unsigned = self.unsigned
        era_block = bytes.fromhex(unsigned.era_block_hash.removeprefix("0x"))
        era = bytes.fromhex(str(unsigned.payload_json["era"]).removeprefix("0x"))
        return (
            unsigned.call_data[:INDEX_BYTES],
            unsigned.included_in_extrinsic.replace(era, b"<era>", 1),
            unsigned.included_in_signed_data.replace(era_block, b"<first block>", 1),
            f"{unsigned.genesis_hash} {unsigned.spec_version} {unsigned.transaction_version}".encode(),
        )

    @property
    def born(self) -> int:
        """The first block of its era: the newest final one of the node."""
        era = self.unsigned.era
        return int(era["current"]) if isinstance(era, dict) else 0

    @property
    def is_whole(self) -> bool:
        """Whether the bytes to sign are those parts."""
        unsigned = self.unsigned
        payload = unsigned.call_data + unsigned.included_in_extrinsic + unsigned.included_in_signed_data
        is_long = len(payload) > _LARGEST_PLAIN
        return unsigned.payload == (blake2b(payload, digest_size=32).digest() if is_long else payload)


async def prepared(
    quorum: Quorum, call: Any, wallet: bt.Wallet, schedule: EpochSchedule, nonce: int
) -> UnsignedExtrinsic:
    """Return what is to be signed for a call: what most nodes prepare, in an era whose first block they confirm.

    The arguments are compared with our own encoding. So no node can have the hotkey sign another
    vector, and none alone another call or one of another network, once two nodes have agreed.

    Raises
    ------
    NodesDisagree
        If the nodes prepare different things, or a block that the others do not know.
    TransientError
        If the era would not end in the epoch.
    """
    _, function, parameters = call
    arguments = arguments_of(function, parameters)

    async def ask(chain: ChainClient) -> _Prepared:
        return _Prepared(await chain.prepare(call, wallet, schedule.era_blocks(), nonce))

    asked = quorum.electorate()
    told = await quorum.told_by(asked, ask, _is_decided_by(len(asked)))
    sound = {name: each for name, each in told.items() if each.unsigned.call_data[INDEX_BYTES:] == arguments}
    ballot = Ballot(len(told))
    for name, each in sound.items():
        ballot.add(name, each)
    winners = ballot.winners()
    for node in asked:
        if winners and node.name in told and node.name not in winners:
            node.standing.contradicted(schedule.block, _PREPARING, "other bytes than most", AT_HEAD)
    for found in sorted((sound[name] for name in winners), key=lambda each: -each.born):
        if not schedule.is_within(found.born, schedule.era_blocks()):
            raise TransientError(f"the epoch was read at block {schedule.block}, and ends too soon by now")
        is_confirmed = await quorum.block_hash_of(found.born) == found.unsigned.era_block_hash
        if found.is_whole and is_confirmed and quorum.is_known_frame(function, found.frame, len(winners)):
            unsigned: UnsignedExtrinsic = found.unsigned
            return unsigned
    raise NodesDisagree("the nodes disagree about what is to be signed, or about their newest blocks")


def _is_decided_by(asked: int) -> Callable[[Mapping[str, Any]], bool]:
    """Return whether more than half of the nodes prepare alike, so that the others need not be awaited for long."""

    def is_decided(told: Mapping[str, Any]) -> bool:
        ballot = Ballot(len(told))
        for name, each in told.items():
            ballot.add(name, each)
        return 2 * len(ballot.winners()) > asked

    return is_decided


async def broadcast(
    nodes: Sequence[ChainNode],
    unsigned: UnsignedExtrinsic,
    signature: bytes,
    leave: Callable[[asyncio.Task[Any]], None],
) -> bt.ExtrinsicResult:
    """Send one signed extrinsic to all nodes; return what most of them say of it.

    Those that know it already from another node say nothing. What a node says here costs it no
    trust, because pools, forks and restarts have honest nodes say different things.

    Parameters
    ----------
    leave
        Called with each submission that is not awaited, and goes on.

    Raises
    ------
    TransientError
        If no node says what became of it.
    """
    open_tasks = {
        asyncio.ensure_future(node.ask(lambda chain: chain.send(unsigned, signature))): node for node in nodes
    }
    results: dict[str, bt.ExtrinsicResult] = {}
    errors: list[BaseException] = []
    try:
        while open_tasks and not _is_decided(results, len(open_tasks)):
            is_taken = any(result.success for result in results.values())
            done, _ = await asyncio.wait(
                open_tasks, timeout=_REST_S if is_taken else None, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for task in done:
                node = open_tasks.pop(task)
                error = task.exception()
                if error is not None:
                    errors.append(error)
                elif _says_something(task.result()) or len(nodes) == 1:
                    results[node.name] = task.result()
    finally:
        for task in open_tasks:
            leave(task)
    if not results:
        raise errors[0] if errors else TransientError("no node says what became of the weights")
    return _judged(results)


def _is_decided(results: Mapping[str, bt.ExtrinsicResult], to_come: int) -> bool:
    """Return whether the answers that are still to come cannot change which answer is that of most nodes."""
    taken = sum(result.success for result in results.values())
    return max(taken, len(results) - taken) > min(taken, len(results) - taken) + to_come


def _judged(results: Mapping[str, bt.ExtrinsicResult]) -> bt.ExtrinsicResult:
    taken = {name for name, result in results.items() if result.success}
    refused = results.keys() - taken
    # Where as many refuse as accept, what is on chain will tell; a success is looked up there.
    winners = taken if len(taken) >= len(refused) else refused
    for name in results.keys() - winners:
        log.warning("chain_node_differs", node=name, taken=name in taken, reason=results[name].message)
    return next(result for name, result in results.items() if name in winners)


def _says_something(result: bt.ExtrinsicResult) -> bool:
    """Return whether a node says what became of an extrinsic, and not only that it has it already."""
    is_known_already = result.error is not None and result.error.name in _KNOWN_ALREADY
    return result.success or not is_known_already
