"""One node of the local chain that clients talk to: JSON-RPC over websockets, true unless a lie applies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gaia.localnet.chain.blocks import StateDiscardedError
from gaia.localnet.chain.extrinsics import InvalidTransactionError
from gaia.localnet.chain.lies import ChainLies
from gaia.localnet.chain.rpc import RpcMethods

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gaia.localnet.chain.blocks import Block, BlockChain
    from gaia.localnet.chain.extrinsics import Extrinsic
    from gaia.localnet.chain.runtime import ChainRuntime

_HEADS = {
    "chain_subscribeAllHeads": "chain_allHead",
    "chain_subscribeNewHeads": "chain_newHead",
    "chain_subscribeNewHead": "chain_newHead",
    "chain_subscribeFinalizedHeads": "chain_finalizedHead",
}
_METHOD_NOT_FOUND, _SERVER_ERROR = -32601, -32000
_OF_A_BLOCK = frozenset({"usurped", "retracted", "finalityTimeout"})
"""Statuses of an extrinsic that name a hash."""
_FINAL_HEADS = "chain_finalizedHead"
_Subscriber = tuple[ServerConnection, str]
_log = logging.getLogger(__name__)


class NodeView:
    """The chain as one node tells it: perhaps some blocks late, or with other values in its state.

    Parameters
    ----------
    lag_blocks
        Number of newest blocks that it does not have yet.
    """

    def __init__(self, chain: BlockChain, lag_blocks: int = 0) -> None:
        self.false_state: dict[bytes, bytes] = {}
        """Storage key -> value that it tells after every block, coherently in all its answers."""
        self.stands_at: int | None = None
        """Its newest block for ever; None: it follows the chain."""
        self._chain = chain
        self._lag_blocks = lag_blocks
        self._standing: Block | None = None
        """The block at which it stands; the chain itself forgets it."""

    @property
    def runtime(self) -> ChainRuntime:
        """The runtime of the chain's newest block."""
        return self._chain.runtime

    @property
    def head(self) -> Block:
        if self.stands_at is None:
            return self.block(self._chain.hash_of(max(0, self._chain.head.number - self._lag_blocks)))
        if self._standing is None or self._standing.number != self.stands_at:
            self._standing = self._chain.block(self._chain.hash_of(self.stands_at))
        return self._as_told(self._standing)

    @property
    def finalized(self) -> Block:
        """The newest final block that it has."""
        head = self.head
        if self._chain.finalized.number >= head.number:
            return head
        return self.block(self._chain.hash_of(self._chain.finalized.number))

    def block(self, block_hash: str | None) -> Block:
        """See `BlockChain.block`."""
        if block_hash is None:
            return self.head
        if self._standing is not None and block_hash == self._standing.hash:
            return self._as_told(self._standing)
        return self._as_told(self._chain.block(block_hash))

    def _as_told(self, block: Block) -> Block:
        return replace(block, state={**block.state, **self.false_state}) if self.false_state else block

    def hash_of(self, number: int) -> str | None:
        """See `BlockChain.hash_of`."""
        return self._chain.hash_of(number) if number <= self.head.number else None

    def is_final(self, block_hash: str) -> bool:
        """Return whether a block of the chain is final, as this node knows; one that is no longer kept is."""
        try:
            return self._chain.block(block_hash).number <= self.finalized.number
        except StateDiscardedError:
            return True

    def next_nonce(self, address: str) -> int:
        """See `BlockChain.next_nonce`."""
        return self._chain.next_nonce(address)

    def submit(self, raw: bytes) -> Extrinsic:
        """See `BlockChain.submit`."""
        return self._chain.submit(raw)

    def is_ready(self, extrinsic: Extrinsic) -> bool:
        """See `BlockChain.is_ready`."""
        return self._chain.is_ready(extrinsic)

    def pending(self) -> Sequence[Extrinsic]:
        """See `BlockChain.pending`."""
        return self._chain.pending()


class Endpoint:
    """A node's address, with lies of its own.

    Parameters
    ----------
    lag_blocks
        Number of newest blocks that it does not have yet.
    """

    def __init__(self, chain: BlockChain, lag_blocks: int = 0) -> None:
        self.lies = ChainLies()
        self.url = ""
        """Its websocket URL, once it is open."""
        self._chain = NodeView(chain, lag_blocks)
        self._methods = RpcMethods(self._chain)
        self._ids = itertools.count(1)
        self._heads: dict[str, _Subscriber] = {}
        self._watches: dict[str, _Subscriber] = {}
        """Extrinsic that waits -> who submitted it."""
        self._included: dict[str, list[tuple[str, _Subscriber]]] = {}
        """Hash of a block that is not final -> extrinsics in it, and who submitted each."""
        self._stored: dict[str, tuple[ServerConnection, dict[str, str | None]]] = {}
        """Subscription -> (subscriber, key -> value told last)."""
        self._versions: dict[str, tuple[ServerConnection, int]] = {}
        """Subscription -> (subscriber, version of the runtime told last)."""
        self._server: Server | None = None

    @property
    def view(self) -> NodeView:
        """The chain as this node has it; a test changes it."""
        return self._chain

    async def open(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Start to serve; return the websocket URL."""
        self._server = await serve(self._converse, host, port, max_size=2**26, compression=None)
        bound = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://{host}:{bound}"
        return self.url

    async def close(self) -> None:
        """Close every connection, and serve no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def hang_up(self) -> int:
        """Close every connection, and go on serving; return how many there were."""
        held = list(self._server.connections) if self._server is not None else []
        await asyncio.gather(*(connection.close() for connection in held))
        return len(held)

    async def announce(self, block: Block, fates: Sequence[tuple[Extrinsic, str]] = ()) -> None:
        """Tell the clients that subscribed of a new block, and of their extrinsics in it.

        Parameters
        ----------
        fates
            (Extrinsic, status) of those that became ready, or left the pool without a block.
        """
        for subscription, (connection, method) in list(self._heads.items()):
            told = self._chain.finalized if method == _FINAL_HEADS else self._chain.head
            await _send(connection, _notice(method, subscription, told.header))
        await self._announce_storage()
        await self._announce_version()
        for extrinsic, status in fates:
            raw = "0x" + extrinsic.raw.hex()
            watcher = self._watches.get(raw) if status == "ready" else self._watches.pop(raw, None)
            await self._tell_status(watcher, {status: block.hash} if status in _OF_A_BLOCK else status)
        for raw in block.extrinsics:
            if (watched := self._watches.pop(raw, None)) is not None:
                self._included.setdefault(block.hash, []).append((raw, watched))
                await self._tell_status(watched, {"inBlock": block.hash})
        for block_hash in [known for known in self._included if self._chain.is_final(known)]:
            for _, watched in self._included.pop(block_hash):
                await self._tell_status(watched, {"finalized": block_hash})

    async def announce_retracted(self, block: Block) -> None:
        """Tell the clients whose extrinsics were in a block that it is no longer part of the chain."""
        for raw, watched in self._included.pop(block.hash, ()):
            self._watches[raw] = watched
            await self._tell_status(watched, {"retracted": block.hash})

    async def _tell_status(self, watcher: _Subscriber | None, status: Any) -> None:
        if watcher is not None:
            connection, subscription = watcher
            await _send(connection, _notice("author_extrinsicUpdate", subscription, status))

    async def _announce_storage(self) -> None:
        """Tell each subscriber of storage the values that have changed."""
        head = self._chain.head
        for subscription, (connection, known) in list(self._stored.items()):
            now = {key: self._methods.call("state_getStorage", [key]) for key in known}
            changes = [[key, value] for key, value in now.items() if known[key] != value]
            known.update(now)
            if changes:
                told = {"block": head.hash, "changes": changes}
                await _send(connection, _notice("state_storage", subscription, told))

    async def _announce_version(self) -> None:
        """Tell each subscriber of the runtime's version another one."""
        version = self._chain.head.spec_version
        for subscription, (connection, known) in list(self._versions.items()):
            if known != version:
                self._versions[subscription] = (connection, version)
                told = self._methods.runtime_version()
                await _send(connection, _notice("state_runtimeVersion", subscription, told))

    async def _converse(self, connection: ServerConnection) -> None:
        """Answer one client until it leaves."""
        try:
            async for message in connection:
                request = json.loads(message)
                batch = request if isinstance(request, list) else [request]
                answers, notices = [], []
                for single in batch:
                    answer, notice = self._answer(connection, single)
                    answers += [answer] if answer is not None else []
                    notices += notice
                if answers:
                    await _send(connection, answers if isinstance(request, list) else answers[0])
                for notice in notices:
                    await _send(connection, notice)
        except ConnectionClosed:
            _log.debug("client left without a close frame")
        finally:
            self._heads = {key: held for key, held in self._heads.items() if held[0] is not connection}
            self._watches = {key: held for key, held in self._watches.items() if held[0] is not connection}
            self._stored = {key: held for key, held in self._stored.items() if held[0] is not connection}
            self._versions = {key: held for key, held in self._versions.items() if held[0] is not connection}

    def _answer(self, connection: ServerConnection, request: Mapping[str, Any]) -> tuple[Any, list[Any]]:
        """Return the answer to one request and the notices that follow it, true unless a lie applies."""
        lie = self.lies.about(request)
        if lie is None:
            return self._truth(connection, request)
        truth, notices = self._truth(connection, request) if lie.acts else ({"id": request.get("id")}, [])
        answer = lie.tell(truth)
        return answer, notices if answer is truth else []

    def _truth(self, connection: ServerConnection, request: Mapping[str, Any]) -> tuple[Any, list[Any]]:
        method = request["method"]
        given = request.get("params") or []
        parameters = list(given.values()) if isinstance(given, dict) else list(given)
        try:
            result, notices = self._dispatch(connection, method, parameters)
        except LookupError as error:
            return _refusal(request, _METHOD_NOT_FOUND, f"Method not found: {error}"), []
        except InvalidTransactionError as error:
            return _refusal(request, error.code, error.title, str(error)), []
        except StateDiscardedError as error:
            return _refusal(request, _SERVER_ERROR, f"State already discarded for {error}"), []
        except (ValueError, TypeError) as error:
            return _refusal(request, _SERVER_ERROR, f"{method}: {error}"), []
        return {"jsonrpc": "2.0", "id": request.get("id"), "result": result}, notices

    def _dispatch(
        self, connection: ServerConnection, method: str, parameters: list[Any]
    ) -> tuple[Any, list[Any]]:
        if method in _HEADS:
            subscription = self._new_id()
            self._heads[subscription] = (connection, _HEADS[method])
            told = self._chain.finalized if _HEADS[method] == _FINAL_HEADS else self._chain.head
            return subscription, [_notice(_HEADS[method], subscription, told.header)]
        if method == "state_subscribeStorage":
            subscription, keys = self._new_id(), [str(key) for key in parameters[0]]
            known = {key: self._methods.call("state_getStorage", [key]) for key in keys}
            self._stored[subscription] = (connection, known)
            told_first = {"block": self._chain.head.hash, "changes": [list(pair) for pair in known.items()]}
            return subscription, [_notice("state_storage", subscription, told_first)]
        if method == "state_subscribeRuntimeVersion":
            subscription = self._new_id()
            self._versions[subscription] = (connection, self._chain.head.spec_version)
            version = self._methods.runtime_version()
            return subscription, [_notice("state_runtimeVersion", subscription, version)]
        if method == "author_submitAndWatchExtrinsic":
            extrinsic = self._chain.submit(bytes.fromhex(parameters[0].removeprefix("0x")))
            subscription = self._new_id()
            self._watches["0x" + extrinsic.raw.hex()] = (connection, subscription)
            status = "ready" if self._chain.is_ready(extrinsic) else "future"
            return subscription, [_notice("author_extrinsicUpdate", subscription, status)]
        if "unsubscribe" in method or method == "author_unwatchExtrinsic":
            ended = str(parameters[0])
            held = (
                self._heads.pop(ended, None)
                or self._stored.pop(ended, None)
                or self._versions.pop(ended, None)
            )
            return held is not None, []
        return self._methods.call(method, parameters), []

    def _new_id(self) -> str:
        return f"gaia-{next(self._ids)}"


def _notice(method: str, subscription: str, result: Any) -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": method, "params": {"subscription": subscription, "result": result}}


def _refusal(request: Mapping[str, Any], code: int, message: str, data: str = "") -> dict[str, object]:
    error = {"code": code, "message": message} | ({"data": data} if data else {})
    return {"jsonrpc": "2.0", "id": request.get("id"), "error": error}


async def _send(connection: ServerConnection, message: Any) -> None:
    """Send a message, unless the client has disconnected."""
    with contextlib.suppress(ConnectionClosed):
        await connection.send(json.dumps(message))
