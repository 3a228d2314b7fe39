"""Compares all nodes with one another, those that are not believed too, and tells how each does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from gaia.validator.core.chain.nodes.ballot import Ballot, difference
from gaia.validator.core.chain.nodes.standing import AT_DEPTH, LIMIT
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.signer_messages import NodeState

if TYPE_CHECKING:
    from gaia.validator.core.chain.client import ChainClient
    from gaia.validator.core.chain.nodes.node import ChainNode
    from gaia.validator.core.chain.nodes.quorum import Quorum
    from gaia.validator.utils.identities import Hotkey

EVERY_BLOCKS: Final = 5
"""Blocks between two comparisons, as far as the time of the last ones tells."""
_FIRST_S, _LONGEST_S = 2.0, 60.0
_GRACE_S = 12.0
"""Seconds that a slower node has to tell as much as the others."""
DEPTH: Final = 3
"""Blocks below the newest one at which nodes are compared; forks are over there."""
_SUBNET = ("SubnetEpochIndex", "LastEpochBlock", "LastUpdate", "CommitRevealWeightsEnabled")
"""Values of storage on which our signatures rest, of the subnet alone, and that the metagraph does not tell."""
_GENESIS = "the first block"
_Facts = dict[str, object]
log = structlog.get_logger("security")


async def compare_for_ever(quorum: Quorum, netuid: int, hotkey: Hotkey) -> None:
    """Compare the nodes every few blocks, until cancelled; where there is one node only, there is nothing to do."""
    pause_s, block, at = _FIRST_S, 0, 0.0
    while len(quorum.nodes) > 1:
        try:
            with border(Party.CHAIN, "comparing the nodes"):
                await compare(quorum, netuid, hotkey)
                before, was_at = block, at
                block, at = await quorum.head(), time.monotonic()
            if before < block and was_at:
                pause_s = min(max(_FIRST_S, EVERY_BLOCKS * (at - was_at) / (block - before)), _LONGEST_S)
        except TransientError as error:
            log.warning("chain_nodes_not_compared", reason=str(error), once=("compare", str(error)))
        await asyncio.sleep(pause_s)


async def compare(quorum: Quorum, netuid: int, hotkey: Hotkey) -> None:
    """Ask all nodes the same at one block, and name those that contradict most of them.

    A node of another network is believed no more at once.

    Raises
    ------
    TransientError
        If no node answers, or nobody can tell which of two is right.
    """
    nodes = [node for node in quorum.nodes if node.standing.is_due] or quorum.nodes
    told = await quorum.told_by(nodes, _start, grace_s=_GRACE_S)
    for node in nodes:
        node.block = told[node.name][0] if node.name in told else node.block
    _judge(nodes, {name: {_GENESIS: genesis} for name, (_, genesis) in told.items()}, 0)
    believed = {node.name: told[node.name][0] for node in quorum.trusted if node.name in told}
    if believed:
        block = max(0, await quorum.newest_of(believed) - DEPTH)
        present = [node for node in nodes if node.name in told]
        facts = await quorum.told_by(present, partial(_facts, netuid, hotkey, block), grace_s=_GRACE_S)
        agreeing = _judge(nodes, facts, block)
        for node in agreeing:
            node.standing.agreed()


def states_of(quorum: Quorum) -> list[NodeState]:
    """Return how each node does, in the operator's order."""
    return [_state(node) for node in quorum.nodes]


async def _start(chain: ChainClient) -> tuple[int, str]:
    """Return the newest block of one node, and the hash of its first one."""
    return await chain.head(), await chain.block_hash_of(0)


async def _facts(netuid: int, hotkey: Hotkey, block: int, chain: ChainClient) -> _Facts:
    """Return question -> answer of one node."""
    questions = {
        f"the hash of block {block}": chain.block_hash_of(block),
        "the metagraph": chain.graph(netuid, block),
        "Uids": chain.query("Uids", netuid, hotkey, block=block),
        **{item: chain.query(item, netuid, block=block) for item in _SUBNET},
    }
    answers = await asyncio.gather(*questions.values())
    facts: _Facts = dict(zip(questions, answers, strict=True))
    epoch, own_uid = facts["SubnetEpochIndex"], facts["Uids"]
    facts["TimelockedWeightCommits"] = await chain.query(
        "TimelockedWeightCommits", netuid, epoch, block=block
    )
    if own_uid is not None:
        facts["Weights"] = await chain.query("Weights", netuid, own_uid, block=block)
    return facts


def _judge(nodes: Sequence[ChainNode], facts: Mapping[str, _Facts], block: int) -> list[ChainNode]:
    """Name the nodes that tell something else than most believed nodes tell; return those that tell the same."""
    believed = [node.name for node in nodes if node.standing.is_trusted and node.name in facts]
    if len(believed) < 2:
        return []
    agreeing = [node for node in nodes if node.name in facts]
    for question in facts[believed[0]]:
        ballot = Ballot(len(believed))
        for name in believed:
            ballot.add(name, facts[name].get(question))
        if not ballot.winners():
            _tell_dispute(question, ballot, block)
            return []
        true = ballot.answers[ballot.winners()[0]]
        for node in [each for each in agreeing if repr(facts[each.name].get(question)) != repr(true)]:
            agreeing.remove(node)
            weight = LIMIT if question == _GENESIS else AT_DEPTH
            node.standing.contradicted(
                block, question, difference(facts[node.name].get(question), true), weight
            )
    return agreeing


def _tell_dispute(question: str, ballot: Ballot, block: int) -> None:
    """Log that no answer is that of most nodes; nobody is named, because nobody can tell who is right."""
    nodes = sorted(ballot.answers)
    log.error(
        "chain_nodes_disagree",
        nodes=nodes,
        question=question,
        block=block,
        words=ballot.dispute(),
        once=("dispute", f"{nodes} {question}"),
    )


def _state(node: ChainNode) -> NodeState:
    standing = node.standing
    return NodeState(
        name=node.name,
        block=node.block,
        is_up=standing.is_up,
        is_trusted=standing.is_trusted,
        contradictions=standing.contradictions,
        problem=standing.problem,
    )
