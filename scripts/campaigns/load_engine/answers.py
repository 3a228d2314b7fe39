"""What a load generator must know: the scenarios, and whether an answer is right; standard library only.

The load generator runs in an environment of its own, without the validator's libraries.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

BOOK = "GAIA_LOAD_BOOK"
"""Environment variable that names the file with the address of the engine and all units."""
UNITS, QUEUE, FIGURES = "/units", "/queue", "/figures"
"""Paths of the engine: run a unit (POST), see the queue, see the figures of the whole run."""

SCENARIOS: Final = {"hash": 30, "day1": 20, "era5_final": 15, "verification": 25, "queue_health": 10}
"""Scenario -> its weight in percent; each but the last is a kind of unit."""
_PLACES = frozenset({"path"})
"""Members of an answer that say where a file is, and so differ from run to run."""


def digest_of(value: Any) -> str:
    """Return the SHA-256 (hex) of an answer, without the paths of files that it wrote."""
    return hashlib.sha256(json.dumps(_without_places(value), sort_keys=True).encode()).hexdigest()


def fault_of(reply: dict[str, Any], expected: str) -> str:
    """Return what is wrong with the engine's reply to a unit; "" if it is the expected answer."""
    if reply.get("failure"):
        return f"the unit failed: {reply['failure']}"
    if digest_of(reply.get("value")) != expected:
        return "the answer is not the one that the handler gives alone"
    return ""


def queue_fault_of(reply: dict[str, Any], workers: int, most: int) -> str:
    """Return what is wrong with the queue; "" if it is short and all workers live."""
    if reply["depth"] >= most:
        return f"{reply['depth']} units wait; fewer than {most} are allowed"
    if reply["workers"] < workers:
        return f"{reply['workers']} of {workers} workers are alive"
    return ""


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_places(each) for name, each in value.items() if name not in _PLACES}
    if isinstance(value, list | tuple):
        return [_without_places(each) for each in value]
    return value
