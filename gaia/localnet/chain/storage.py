"""Key-value state of the chain, typed by the runtime's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gaia.localnet.chain.runtime import ChainRuntime


class ChainStorage:
    """State as a real node keeps it in its trie: SCALE bytes under hashed keys."""

    def __init__(self, runtime: ChainRuntime, cells: Mapping[bytes, bytes] | None = None) -> None:
        self._runtime = runtime
        self._cells = dict(cells or {})

    def read(self, item: str, *parameters: Any, pallet: str = "SubtensorModule") -> Any:
        """Return the value, or the runtime's default if none was written (None for an optional item)."""
        entry = self._runtime.storage_entry(pallet, item)
        raw = self._cells.get(self._runtime.storage_key(pallet, item, parameters))
        if raw is not None:
            return self._runtime.decode(entry.value_type, raw)
        if entry.modifier == "Optional":
            return None
        return self._runtime.decode(entry.value_type, bytes(entry.default_bytes))

    def write(self, item: str, *parameters: Any, value: Any, pallet: str = "SubtensorModule") -> None:
        entry = self._runtime.storage_entry(pallet, item)
        key = self._runtime.storage_key(pallet, item, parameters)
        self._cells[key] = self._runtime.encode(entry.value_type, value)

    def remove(self, item: str, *parameters: Any, pallet: str = "SubtensorModule") -> None:
        self._cells.pop(self._runtime.storage_key(pallet, item, parameters), None)

    def snapshot(self) -> Mapping[bytes, bytes]:
        """Return a copy of the present state."""
        return dict(self._cells)

    def restore(self, snapshot: Mapping[bytes, bytes]) -> None:
        self._cells = dict(snapshot)
