"""Makes all background tasks, with their names, intervals and deadlines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gaia.tasks.defined_tasks.base import UnitRunner
from gaia.validator.core.background.backups import BackupKeeper
from gaia.validator.core.background.connections import ClientHealth, RenewsChain, SubstrateCleanup
from gaia.validator.core.background.deregistration import Deregistrations, ForgetsMiners
from gaia.validator.core.background.earthdata import EarthdataToken
from gaia.validator.core.background.memory import MemoryKeeper, RetiresWorkers
from gaia.validator.core.background.notifier import Notifier
from gaia.validator.core.background.retention import Retention
from gaia.validator.core.background.task import BackgroundTask
from gaia.validator.core.background.updates import UpdateCheck
from gaia.validator.core.chain.metagraph import MetagraphKeeper
from gaia.validator.core.database_stats import DatabaseStatsManager
from gaia.validator.db.connection import Database
from gaia.validator.utils.idle_connections import HoldsConnections
from gaia.validator.utils.settings.background import BackgroundSettings

_MINUTE_S, _HOUR_S = 60.0, 3600.0


class Times(NamedTuple):
    """When a task runs, and how long one run may take."""

    interval_s: float
    deadline_s: float
    at_start: bool = False


TIMES: Mapping[str, Times] = {
    "database_monitor": Times(_MINUTE_S, 50.0),
    "memory_snapshot_taker": Times(5 * _MINUTE_S, 60.0),
    "plot_database_metrics_periodically": Times(20 * _MINUTE_S, 180.0),
    "check_for_updates": Times(5 * _MINUTE_S, 30.0, at_start=True),
    "handle_miner_deregistration_loop": Times(20 * _MINUTE_S, 30.0, at_start=True),
    "manage_earthdata_token": Times(_HOUR_S, 240.0, at_start=True),
    "monitor_client_health": Times(5 * _MINUTE_S, 30.0),
    "periodic_substrate_cleanup": Times(_HOUR_S, 300.0),
    "aggressive_memory_cleanup": Times(_MINUTE_S, 30.0),
    "notifier": Times(_MINUTE_S, 58.0, at_start=True),
    "remove_old_data": Times(6 * _HOUR_S, _HOUR_S, at_start=True),
    "daily_backup": Times(2 * _HOUR_S, 2 * _HOUR_S, at_start=True),
}
"""Name of a task -> its times; the names are those of the plan, and of the methods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the background tasks watch over and use."""

    settings: BackgroundSettings
    data_dir: Path
    database: Database
    units: UnitRunner
    metagraph: MetagraphKeeper
    miners: ForgetsMiners
    clients: Mapping[str, HoldsConnections]
    """Name -> HTTP client that keeps connections."""
    signer: RenewsChain
    processes: Callable[[], Mapping[str, Sequence[int]]]
    """Returns role -> pids of the living processes."""
    workers: RetiresWorkers | None
    """The local pool; None: units run on a cluster."""
    notifier: Notifier
    retention: Retention
    backups: BackupKeeper
    show_update: Callable[[bool], None]
    """Called with whether a newer release is known."""


def background_tasks(around: Surroundings) -> list[BackgroundTask]:
    """Return the tasks that run beside scoring, weights and the status line."""
    settings = around.settings
    stats = DatabaseStatsManager(settings, around.data_dir, around.database, around.units)
    memory = MemoryKeeper(settings, around.database, around.processes, around.workers)
    works = (
        stats.database_monitor,
        memory.memory_snapshot_taker,
        stats.plot_database_metrics_periodically,
        UpdateCheck(settings.update_url, around.show_update).check_for_updates,
        Deregistrations(around.metagraph.latest, around.miners).handle_miner_deregistration_loop,
        EarthdataToken(settings, around.data_dir).manage_earthdata_token,
        ClientHealth(around.clients).monitor_client_health,
        SubstrateCleanup(around.signer, settings.chain_connection_hours).periodic_substrate_cleanup,
        memory.aggressive_memory_cleanup,
        around.notifier.notifier,
        around.retention.remove_old_data,
        around.backups.daily_backup,
    )
    return [
        BackgroundTask(
            name=work.__name__,
            interval_s=TIMES[work.__name__].interval_s,
            deadline_s=TIMES[work.__name__].deadline_s,
            at_start=TIMES[work.__name__].at_start,
            run=work,
        )
        for work in works
    ]
