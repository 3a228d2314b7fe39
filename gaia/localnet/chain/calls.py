"""What calls of the pallet take, return and raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Event = tuple[str, str, Any]
Arguments = Mapping[str, Any]


class DispatchError(Exception):
    """The runtime refuses the call; the message is the runtime's name of the error."""

    def __init__(self, name: str, pallet: str = "SubtensorModule") -> None:
        super().__init__(name)
        self.name = name
        self.pallet = pallet
