"""What every task needs; the names below are imported on first use, so that no process loads more than it uses."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gaia.validator.core.database_setup import run_comprehensive_database_setup
    from gaia.validator.core.database_stats import DatabaseStatsManager
    from gaia.validator.core.miner_comms import MinerComms as MinerCommunicator
    from gaia.validator.core.task_orchestrator import TaskOrchestrator

__all__ = [
    "DatabaseStatsManager",
    "MinerCommunicator",
    "TaskOrchestrator",
    "run_comprehensive_database_setup",
]

_HOMES = {
    "DatabaseStatsManager": ("database_stats", "DatabaseStatsManager"),
    # The plan's name of it.
    "MinerCommunicator": ("miner_comms", "MinerComms"),
    "TaskOrchestrator": ("task_orchestrator", "TaskOrchestrator"),
    "run_comprehensive_database_setup": ("database_setup", "run_comprehensive_database_setup"),
}
"""Name -> its module below this package, and its name there."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
