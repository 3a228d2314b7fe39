"""Reads the chain from several nodes at once, and believes what more than half of them say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from gaia.validator.core.chain.nodes import heads
from gaia.validator.core.chain.nodes.ballot import Ballot, difference
from gaia.validator.core.chain.nodes.broadcast import broadcast, prepared
from gaia.validator.core.chain.nodes.node import ChainNode
from gaia.validator.core.chain.nodes.standing import AT_HEAD, Standing
from gaia.validator.core.chain.reader import SETTLING_BLOCKS, SUBTENSOR, ChainReader, text_of
from gaia.validator.utils.errors import BlockUnknown, NodesDisagree, TransientError

if TYPE_CHECKING:
    import bittensor as bt

    from gaia.validator.core.chain.client import ChainClient
    from gaia.validator.core.chain.epochs import EpochSchedule

T = TypeVar("T")
_Question = Callable[["ChainClient"], Awaitable[T]]

GRACE_S: Final = 2.0
"""Seconds that the last nodes have for an answer, once the others suffice."""
_HEAD = "the newest block"
_majorities: ContextVar[list[int] | None] = ContextVar("majorities", default=None)
"""Number of nodes that gave each answer of the present request; None: no request began."""
log = structlog.get_logger(__name__)


class Quorum(ChainReader):
    """The chain as several nodes tell it.

    Each answer is that of most nodes that answer. A node that contradicts it is named in the log, and
    believed no more if it does so again. Without a majority, a call raises `NodesDisagree`. All are
    read at one block, the newest one that most have. One node alone is believed while the others do
    not answer, but `is_confirmed` is false then.

    Parameters
    ----------
    nodes
        Name of each node -> its websocket URL, in the operator's order.
    timeout_s
        Time limit of one call to one node.
    """

    def __init__(self, nodes: Mapping[str, str], timeout_s: float) -> None:
        is_alone = len(nodes) == 1
        self.nodes = [
            ChainNode(endpoint, Standing(name, is_alone=is_alone), timeout_s)
            for name, endpoint in nodes.items()
        ]
        self._frames: dict[str, tuple[bytes, ...]] = {}
        """Function -> what surrounds its arguments, as two nodes or more prepared it last."""
        self._late: set[asyncio.Task[Any]] = set()
        """Questions whose answer came, or comes, after the vote."""

    @property
    def is_confirmed(self) -> bool:
        if len(self.nodes) == 1:
            return True
        majorities = _majorities.get()
        least = min(majorities) if majorities else sum(node.standing.is_up for node in self.trusted)
        return least > 1 and not any(node.standing.is_disputed for node in self.nodes)

    def begin_request(self) -> None:
        """Let `is_confirmed` be about the answers from now on in this task, and in those that it starts."""
        _majorities.set([])

    @property
    def trusted(self) -> Sequence[ChainNode]:
        """The nodes that are believed, in the operator's order."""
        return [node for node in self.nodes if node.standing.is_trusted]

    def electorate(self) -> Sequence[ChainNode]:
        """Return the nodes that are asked now: those that are believed, without those that just failed."""
        trusted = self.trusted
        return [node for node in trusted if node.standing.is_due] or trusted

    async def close(self) -> None:
        """End the questions that are still open, and close all connections."""
        for task in self._late:
            task.cancel()
        if self._late:
            await asyncio.wait(self._late)
        for node in self.nodes:
            await node.close()

    async def renew(self, max_age_s: float) -> tuple[float, bool]:
        """Replace old connections; return (age in seconds of the oldest, whether one is new).

        Raises
        ------
        TransientError
            If one is old and none can be replaced; the old ones stay.
        """
        ages_s, are_new, failures = [0.0], False, []
        for node in self.nodes:
            try:
                age_s, is_new = await node.renew(max_age_s)
            except TransientError as error:
                failures.append(error)
                continue
            ages_s.append(age_s)
            are_new |= is_new
        if failures and not are_new:
            raise failures[0]
        return max(ages_s), are_new

    async def head(self) -> int:
        asked = self.electorate()

        def is_enough(told: Mapping[str, int]) -> bool:
            return 2 * len(told) > len(asked) and not heads.are_apart(told)

        told = await self.told_by(asked, lambda chain: chain.head(), is_enough)
        for node in self.nodes:
            node.block = told.get(node.name, node.block)
        return await self.newest_of(told)

    async def newest_of(self, told: Mapping[str, int]) -> int:
        """Return the newest block that most nodes have, of node -> its newest block; name those that lie.

        A node whose newest block is old is left alone for a while, like one that fails.

        Raises
        ------
        NodesDisagree
            If two nodes are far apart, and both have a new block.
        """
        believed = dict(told)
        if heads.are_apart(told):
            following = heads.following(await self._ages_s(told))
            believed = {name: told[name] for name in following}
        found = heads.judged(believed)
        if found is None:
            blocks = ", ".join(f"{name} has block {block}" for name, block in told.items())
            raise NodesDisagree(f"the nodes disagree about {_HEAD}: {blocks}")
        for node in self.nodes:
            lead = told.get(node.name, found) - found
            if lead > heads.LARGEST_LEAD:
                words = f"{told[node.name]}, while the others have {found}"
                node.standing.contradicted(found, _HEAD, words, AT_HEAD)
            elif lead < -heads.LARGEST_LEAD and node.name not in believed:
                node.standing.failed(f"it stands at block {told[node.name]}, and the others at {found}")
        return found

    async def graph(self, netuid: int, block: int | None = None) -> Any:
        at = await self._at(block)
        return await self.vote("the metagraph", lambda chain: chain.graph(netuid, at), at)

    async def query(
        self, item: str, *parameters: Any, block: int | None = None, pallet: str = SUBTENSOR
    ) -> Any:
        at = await self._at(block)
        question = partial(_queried, item=item, parameters=parameters, at=at, pallet=pallet)
        return await self.vote(item, question, at)

    async def time_of(self, block: int) -> datetime:
        return await self.vote(f"the time of block {block}", lambda chain: chain.time_of(block), block)

    async def events(self, block: int) -> Any:
        return await self.vote(f"the events of block {block}", lambda chain: chain.events(block), block)

    async def block_hash_of(self, block: int) -> str:
        try:
            return await self.vote(f"the hash of block {block}", partial(_hash_of, block=block), block)
        except BlockUnknown:
            return ""

    async def wait_blocks(self, count: int = SETTLING_BLOCKS) -> None:
        """Wait until most nodes have so many further blocks, so that none alone can hurry or hold us."""
        await self.vote("the next blocks", lambda chain: chain.wait_blocks(count))

    async def submit(self, call: Any, wallet: bt.Wallet, schedule: EpochSchedule) -> bt.ExtrinsicResult:
        """Sign what most nodes prepare, once, and send it to all that are believed."""
        nonce = await self.nonce(wallet.hotkey.ss58_address)
        unsigned = await prepared(self, call, wallet, schedule, nonce)
        signature = bytes(wallet.hotkey.sign(unsigned.payload))
        return await broadcast(self.electorate(), unsigned, signature, self._leave)

    def is_known_frame(self, function: str, frame: tuple[bytes, ...], nodes: int) -> bool:
        """Return whether what surrounds a call's arguments is that on which two nodes have agreed, or do now.

        What two or more prepare is remembered. Until then, one alone is believed.
        """
        if nodes > 1:
            self._frames[function] = frame
        known = self._frames.get(function)
        # The second part has the number of the extrinsic, which is another each time.
        return known is None or (known[0] == frame[0] and known[2:] == frame[2:])

    async def vote(self, about: str, question: _Question[T], block: int | None = None) -> T:
        """Return the answer of most nodes, as soon as nothing can change it.

        Parameters
        ----------
        about
            What is asked, in words.
        block
            Block after which it is read; None: it belongs to no block.

        Raises
        ------
        NodesDisagree
            If no answer is that of most nodes.
        BlockUnknown
            If most nodes do not have the block.
        TransientError
            If no node answers.
        """
        asked = self.electorate()
        ballot = Ballot(len(asked))
        open_questions = {asyncio.ensure_future(node.ask(question)): node for node in asked}
        try:
            await _count(ballot, open_questions)
        finally:
            for task in open_questions:
                self._leave(task)
        if not ballot.answers:
            raise ballot.errors[0]
        winners = ballot.winners()
        if not winners:
            raise NodesDisagree(f"the nodes disagree about {about}: {ballot.dispute()}")
        if isinstance(ballot.answers[winners[0]], _Unknown):
            raise BlockUnknown(f"most nodes do not have block {block}, which {about} was to be read at")
        majorities = _majorities.get()
        if majorities is not None:
            majorities.append(len(winners))
        answer: T = ballot.answers[winners[0]]
        for node in asked:
            if node.name in ballot.dissenters():
                self._contradicted(node, about, block, answer, ballot.answers[node.name])
        for task, node in open_questions.items():
            task.add_done_callback(partial(self._came_late, node, about, block, answer))
        return answer

    async def told_by(
        self,
        nodes: Sequence[ChainNode],
        question: _Question[T],
        is_enough: Callable[[Mapping[str, T]], bool] = bool,
        grace_s: float = GRACE_S,
    ) -> dict[str, T]:
        """Return node -> answer of all that answer, without waiting long for the last ones.

        Parameters
        ----------
        is_enough
            Whether these answers suffice, so that the others have `grace_s` more seconds.

        Raises
        ------
        TransientError
            If none answers.
        """
        tasks = {asyncio.ensure_future(node.ask(question)): node for node in nodes}
        open_tasks = set(tasks)
        end: float | None = None
        loop = asyncio.get_running_loop()
        try:
            while open_tasks and (end is None or loop.time() < end):
                wait_s = None if end is None else end - loop.time()
                _, open_tasks = await asyncio.wait(
                    open_tasks, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
                )
                if end is None and is_enough(_answers(tasks)):
                    end = loop.time() + grace_s
        finally:
            for task in open_tasks:
                self._leave(task)
        answers = _answers(tasks)
        if not answers:
            raise next((task.exception() for task in tasks if task.done()), None) or TransientError(
                "no node answers"
            )
        return answers

    async def _at(self, block: int | None) -> int:
        return await self.head() if block is None else block

    async def _ages_s(self, told: Mapping[str, int]) -> dict[str, float]:
        """Return node -> age in seconds of the newest block that it tells, of those that answer in time."""
        asked = [node for node in self.nodes if node.name in told]
        by_client: dict[str, float] = {}

        async def age_s(name: str, chain: ChainClient) -> float:
            return (datetime.now(UTC) - await chain.time_of(told[name])).total_seconds()

        async def ask(node: ChainNode) -> None:
            by_client[node.name] = await node.ask(partial(age_s, node.name))

        tasks = {asyncio.ensure_future(ask(node)) for node in asked}
        try:
            await asyncio.wait(tasks, timeout=GRACE_S)
        finally:
            for task in tasks:
                if not task.done() or task.cancelled() or task.exception() is not None:
                    self._leave(task)
        return by_client or dict.fromkeys(told, 0.0)

    def _contradicted(self, node: ChainNode, about: str, block: int | None, true: Any, told: Any) -> None:
        if isinstance(told, _Unknown):
            return
        at = node.block if block is None else block
        node.standing.contradicted(at, about, difference(told, true), AT_HEAD)

    def _came_late(
        self, node: ChainNode, about: str, block: int | None, true: Any, task: asyncio.Task[Any]
    ) -> None:
        if _has_answer(task) and repr(task.result()) != repr(true):
            self._contradicted(node, about, block, true, task.result())

    def _leave(self, task: asyncio.Task[Any]) -> None:
        """Let a question go on that nobody awaits, until it ends or this is closed."""
        self._late.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # else asyncio logs that it was never retrieved


class _Unknown:
    """Answer of a node that does not have the block yet; no contradiction, but no confirmation either."""

    def __repr__(self) -> str:
        return "an unknown block"


async def _count(ballot: Ballot, open_questions: dict[asyncio.Task[Any], ChainNode]) -> None:
    """Count answers as they come until the ballot is decided; leave the questions that are open then."""
    while open_questions and not ballot.is_decided:
        done, _ = await asyncio.wait(open_questions, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            node = open_questions.pop(task)
            if task.cancelled():
                ballot.abstain(TransientError(f"{node.name} was closed"))
                continue
            error = task.exception()
            if error is None:
                ballot.add(node.name, task.result())
            elif isinstance(error, BlockUnknown):
                ballot.add(node.name, _Unknown())
            elif isinstance(error, TransientError):
                ballot.abstain(error)
            else:
                # Whatever one node's answer causes, the others decide.
                ballot.abstain(TransientError(f"{node.name}: {text_of(error)}"))


async def _queried(chain: ChainClient, item: str, parameters: Sequence[Any], at: int, pallet: str) -> Any:
    return await chain.query(item, *parameters, block=at, pallet=pallet)


async def _hash_of(chain: ChainClient, block: int) -> str:
    found = await chain.block_hash_of(block)
    if not found:
        raise BlockUnknown(f"block {block} is unknown")
    return found


def _has_answer(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _answers(tasks: Mapping[asyncio.Task[T], ChainNode]) -> dict[str, T]:
    return {node.name: task.result() for task, node in tasks.items() if _has_answer(task)}
