"""The arguments of the calls that we sign, encoded by ourselves: what a node's runtime says must be the same."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

from gaia.validator.core.chain.timelock import compact

INDEX_BYTES: Final = 2
"""Bytes before the arguments of a call: the numbers of its pallet and of itself."""
SET, COMMIT = "set_mechanism_weights", "commit_timelocked_mechanism_weights"


def arguments_of(function: str, parameters: Mapping[str, Any]) -> bytes:
    """Return the arguments of one of our two calls in SCALE (pallets/subtensor of subtensor, spec 461).

    >>> arguments_of(SET, {"netuid": 57, "mecid": 0, "dests": [1], "weights": [65535], "version_key": 7}).hex()
    '39000004010004ffff0700000000000000'
    """
    subnet = struct.pack("<HB", parameters["netuid"], parameters["mecid"])
    if function == SET:
        uids, weights = parameters["dests"], parameters["weights"]
        lists = b"".join(
            compact(len(numbers)) + struct.pack(f"<{len(numbers)}H", *numbers) for numbers in (uids, weights)
        )
        return subnet + lists + struct.pack("<Q", parameters["version_key"])
    if function == COMMIT:
        sealed = bytes.fromhex(str(parameters["commit"]).removeprefix("0x"))
        end = struct.pack("<QH", parameters["reveal_round"], parameters["commit_reveal_version"])
        return subnet + compact(len(sealed)) + sealed + end
    raise ValueError(f"{function} is none of the calls that we sign")
