"""Types of identifiers; the type checker rejects one kind in place of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NewType

Hotkey = NewType("Hotkey", str)
"""ss58 address of a miner or a validator on chain."""
RunId = NewType("RunId", str)
"""Initial time of a run, such as "2026-03-25T00Z"."""
JobId = NewType("JobId", str)
"""Id of a job in the compute pool; units with one id are one job, answered once."""
MinerJobId = NewType("MinerJobId", str)
"""Id that a miner gave to a requested forecast."""
WorkerId = NewType("WorkerId", str)
"""Name of a compute worker, such as "4.7"; unique in its pool."""


def present_name(names: Mapping[str, str], hotkey: str) -> str:
    """Return the hotkey that a swap has put in the place of `hotkey`; "" if another miner bears this name now.

    >>> present_name({"a": "b"}, "a"), present_name({"a": "b"}, "b"), present_name({"a": "b"}, "c")
    ('b', '', 'c')
    """
    return names.get(hotkey) or ("" if hotkey in names.values() else hotkey)


def worker_id(seat: int, incarnation: int) -> WorkerId:
    """Return the name of the worker with number `incarnation` at a seat of the pool.

    >>> worker_id(4, 7)
    '4.7'
    """
    return WorkerId(f"{seat}.{incarnation}")
