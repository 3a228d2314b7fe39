"""The node's JSON-RPC methods, without its subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gaia.localnet.chain.apis import RuntimeApis

if TYPE_CHECKING:
    from gaia.localnet.chain.endpoint import NodeView

SUBSCRIPTIONS = (
    "author_submitAndWatchExtrinsic",
    "author_unwatchExtrinsic",
    "chain_subscribeAllHeads",
    "chain_subscribeFinalizedHeads",
    "chain_subscribeNewHeads",
    "chain_unsubscribeAllHeads",
    "chain_unsubscribeFinalizedHeads",
    "chain_unsubscribeNewHeads",
    "state_subscribeRuntimeVersion",
    "state_subscribeStorage",
    "state_unsubscribeRuntimeVersion",
    "state_unsubscribeStorage",
)


class RpcMethods:
    """JSON-RPC methods on the chain as one node has it, with the answers of a substrate node."""

    def __init__(self, chain: NodeView) -> None:
        self._chain = chain
        self._methods: Mapping[str, Callable[..., Any]] = {
            "author_submitExtrinsic": self._submit,
            "account_nextIndex": chain.next_nonce,
            "chain_getBlock": self._block,
            "chain_getBlockHash": self._block_hash,
            "author_pendingExtrinsics": lambda: ["0x" + each.raw.hex() for each in chain.pending()],
            "chain_getFinalizedHead": lambda: chain.finalized.hash,
            "chain_getHead": self._head_hash,
            "chain_getHeader": lambda block_hash=None: chain.block(block_hash).header,
            "chain_getRuntimeVersion": self.runtime_version,
            "rpc_methods": lambda: {"methods": [*sorted(self._methods), *SUBSCRIPTIONS]},
            "state_call": self._state_call,
            "state_getKeysPaged": self._keys_paged,
            "state_getMetadata": lambda _block_hash=None: chain.runtime.metadata_v14,
            "state_getRuntimeVersion": self.runtime_version,
            "state_getStorage": self._storage,
            "state_getStorageAt": self._storage,
            "state_queryStorageAt": self._query_storage,
            "system_accountNextIndex": chain.next_nonce,
            "system_chain": lambda: "Gaia local subnet",
            "system_chainType": lambda: "Local",
            "system_health": lambda: {"peers": 0, "isSyncing": False, "shouldHavePeers": False},
            "system_peers": list,
            "system_name": lambda: "gaia-local-chain",
            "system_properties": lambda: {"ss58Format": 42, "tokenDecimals": 9, "tokenSymbol": "TAO"},
            "system_version": lambda: "1.0",
        }

    def call(self, method: str, parameters: list[Any]) -> Any:
        """Return the answer to one request.

        Raises
        ------
        LookupError
            If there is no such method.
        InvalidTransactionError
            If the extrinsic is refused.
        StateDiscardedError
            If the block is no longer kept.
        """
        return self._methods[method](*parameters)

    def runtime_version(self, block_hash: str | None = None) -> dict[str, object]:
        return {
            "specName": "node-subtensor",
            "implName": "gaia-local-chain",
            "authoringVersion": 1,
            "specVersion": self._chain.block(block_hash).spec_version,
            "implVersion": 1,
            "apis": [],
            "transactionVersion": self._chain.runtime.transaction_version,
            "stateVersion": 1,
        }

    def _head_hash(self) -> str:
        return self._chain.head.hash

    def _block_hash(self, number: int | None = None) -> str | None:
        return self._chain.head.hash if number is None else self._chain.hash_of(number)

    def _block(self, block_hash: str | None = None) -> dict[str, object]:
        block = self._chain.block(block_hash)
        return {"block": {"header": block.header, "extrinsics": block.extrinsics}, "justifications": None}

    def _submit(self, extrinsic: str) -> str:
        return self._chain.submit(_bytes(extrinsic)).hash

    def _state_call(self, name: str, data: str, block_hash: str | None = None) -> str:
        apis = RuntimeApis(self._chain.runtime, self._chain.block(block_hash))
        return "0x" + apis.call(name, _bytes(data)).hex()

    def _storage(self, key: str, block_hash: str | None = None) -> str | None:
        value = self._chain.block(block_hash).state.get(_bytes(key))
        return None if value is None else "0x" + value.hex()

    def _query_storage(self, keys: list[str], block_hash: str | None = None) -> list[dict[str, object]]:
        block = self._chain.block(block_hash)
        return [{"block": block.hash, "changes": [[key, self._storage(key, block_hash)] for key in keys]}]

    def _keys_paged(
        self, prefix: str | None, count: int, start_key: str | None = None, block_hash: str | None = None
    ) -> list[str]:
        wanted, after = _bytes(prefix or "0x"), _bytes(start_key or "0x")
        state = self._chain.block(block_hash).state
        keys = sorted(key for key in state if key.startswith(wanted) and key > after)
        return ["0x" + key.hex() for key in keys[:count]]


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
