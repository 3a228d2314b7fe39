"""Metadata of the real subtensor runtime, and its codec."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import bittensor_core

SS58_FORMAT = 42
_EMPTY: Mapping[str, Callable[[], Any]] = {"Option": lambda: None, "BTreeMap": dict}
GOLDEN = Path(__file__).parents[1] / "data" / "golden-sdk-11.3.0.json.xz"


class ChainRuntime:
    """Encodes and decodes all values that the chain stores, receives and sends.

    Values are plain Python: integers, strings, lists, dicts by field name;
    an enum variant is its name, or ``{name: value}`` if it carries a value.
    """

    def __init__(
        self, metadata_v15: str, metadata_v14: str, spec_version: int, transaction_version: int
    ) -> None:
        self.metadata_v15 = metadata_v15
        """Hex of the optional, length-prefixed metadata that `Metadata_metadata_at_version` returns."""
        self.metadata_v14 = metadata_v14
        self.spec_version = spec_version
        self.transaction_version = transaction_version
        metadata = _strip_option_and_length(bytes.fromhex(metadata_v15[2:]))
        self.codec = bittensor_core.Runtime(metadata, spec_version, transaction_version, SS58_FORMAT)
        self._entries: dict[tuple[str, str], Any] = {}

    @classmethod
    def load(cls) -> ChainRuntime:
        """Return the runtime of the SDK's fixture, spec 461."""
        with lzma.open(GOLDEN) as stream:
            golden = json.load(stream)
        network = golden["network"]
        return cls(
            golden["metadata"]["v15_hex"],
            golden["metadata"]["v14_hex"],
            network["spec_version"],
            network["transaction_version"],
        )

    def of_version(self, spec_version: int) -> ChainRuntime:
        """Return a runtime with the same metadata and another version."""
        return ChainRuntime(self.metadata_v15, self.metadata_v14, spec_version, self.transaction_version)

    @cached_property
    def api_map(self) -> Mapping[str, Mapping[str, Any]]:
        """API -> method -> description."""
        apis: Mapping[str, Mapping[str, Any]] = self.codec.runtime_api_map()
        return apis

    def encode(self, type_string: str, value: Any) -> bytes:
        return bytes(self.codec.encode(type_string, value))

    def decode(self, type_string: str, data: bytes) -> Any:
        """Return the value of `data`; raise ValueError if bytes are left over."""
        return self.codec.decode(type_string, data, True)

    def storage_key(self, pallet: str, item: str, parameters: Sequence[Any]) -> bytes:
        return bytes(self.codec.storage_key(pallet, item, list(parameters)))

    def storage_entry(self, pallet: str, item: str) -> Any:
        """Return the description of a storage item: value type, modifier, default."""
        if (pallet, item) not in self._entries:
            self._entries[pallet, item] = self.codec.storage_entry(pallet, item)
        return self._entries[pallet, item]

    def compose_call(self, pallet: str, function: str, arguments: Mapping[str, Any]) -> bytes:
        return bytes(self.codec.compose_call(pallet, function, dict(arguments)))

    def module_error(self, pallet: str, name: str) -> dict[str, Any]:
        """Return the dispatch error `name` of `pallet` in the form of `System` events."""
        pallet_index, error_index = self._errors[pallet, name]
        return {"Module": {"index": pallet_index, "error": f"0x{error_index:02x}000000"}}

    def dispatch_error(self, pallet: str, name: str) -> Any:
        """Return an error of a pallet, or one that every call may have, such as BadOrigin, in the form of events."""
        return self.module_error(pallet, name) if (pallet, name) in self._errors else name

    @cached_property
    def _errors(self) -> dict[tuple[str, str], tuple[int, int]]:
        return {
            (pallet["name"], error["name"]): (pallet["index"], error["index"])
            for pallet in self.codec.metadata_ir()["pallets"]
            for error in pallet["errors"]
        }

    @cached_property
    def _types(self) -> dict[int, Any]:
        registry = json.loads(self.codec.registry_json())
        return {entry["id"]: entry["type"] for entry in registry["types"]}

    def zero_of(self, type_string: str) -> Any:
        """Return the neutral value of a type: zeros, empty lists, absent options.

        A record of seventy fields can then be built from the few fields that matter.
        """
        return self._zero(_type_id(type_string))

    def zero_of_option(self, type_string: str) -> Any:
        """Return the neutral value of the type inside an optional type."""
        (some,) = (v for v in self._types[_type_id(type_string)]["def"]["variant"]["variants"] if v["index"])
        return self._zero(some["fields"][0]["type"])

    def zero_of_element(self, type_string: str) -> Any:
        """Return the neutral value of a sequence's elements."""
        return self._zero(self._types[_type_id(type_string)]["def"]["sequence"]["type"])

    def _zero(self, type_id: int) -> Any:
        described = self._types[type_id]
        path = described.get("path") or [""]
        ((kind, shape),) = described["def"].items()
        if path[-1] == "AccountId32":
            return "0x" + "00" * 32
        if path[-1] in _EMPTY or kind == "sequence":
            return _EMPTY.get(path[-1], list)()
        if kind == "primitive":
            return {"bool": False, "str": "", "char": "\0"}.get(shape, 0)
        if kind == "compact":
            return self._zero(shape["type"])
        if kind == "array":
            return self._zero_array(shape)
        if kind == "tuple":
            return [self._zero(member) for member in shape]
        if kind == "composite":
            return self._zero_fields(shape.get("fields", []))
        first = min(shape["variants"], key=lambda variant: int(variant["index"]))
        fields = first.get("fields", [])
        return {first["name"]: self._zero_fields(fields)} if fields else first["name"]

    def _zero_array(self, shape: Mapping[str, Any]) -> Any:
        if self._types[shape["type"]]["def"] == {"primitive": "u8"}:
            return "0x" + "00" * shape["len"]
        return [self._zero(shape["type"])] * shape["len"]

    def _zero_fields(self, fields: Sequence[Mapping[str, Any]]) -> Any:
        if fields and fields[0].get("name"):
            return {field["name"]: self._zero(field["type"]) for field in fields}
        values = [self._zero(field["type"]) for field in fields]
        return values[0] if len(values) == 1 else values


def _type_id(type_string: str) -> int:
    return int(type_string.removeprefix("scale_info::"))


def _strip_option_and_length(data: bytes) -> bytes:
    """Drop the `Some` byte and the compact length before the metadata."""
    mode = data[1] & 3
    return data[1 + (1, 2, 4, 1 + (data[1] >> 2) + 4)[mode] :]
