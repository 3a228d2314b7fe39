"""The kinds of text that name something; a name of one kind cannot stand where another is meant."""

from __future__ import annotations

from typing import NewType

Hotkey = NewType("Hotkey", str)
"""ss58 address by which the chain knows a miner or a validator."""
RunId = NewType("RunId", str)
"""Initial time of a run, such as "2026-03-25T00Z"."""
JobId = NewType("JobId", str)
"""Name of a unit of work in the compute pool; units of one name are one job, answered once."""
MinerJobId = NewType("MinerJobId", str)
"""Name that a miner gave to the forecast it was asked for."""
WorkerId = NewType("WorkerId", str)
"""Name of a compute worker, such as "4.7"; no two workers of one Supervisor share one."""


def worker_id(seat: int, incarnation: int) -> WorkerId:
    """Return the name of the worker that is the `incarnation`-th process, at a seat of the pool.

    >>> worker_id(4, 7)
    '4.7'
    """
    return WorkerId(f"{seat}.{incarnation}")
