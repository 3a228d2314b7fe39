"""Starts the compute backend that the settings select."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.validator.app.backends.dask_backend import DaskBackend
from gaia.validator.app.pool.compute_pool import ComputePool
from gaia.validator.app.pool.job_ledger import JobLedger

if TYPE_CHECKING:
    from gaia.validator.app.pool.protocols import ComputeBackend
    from gaia.validator.utils.settings.pool import PoolSettings


async def start_compute(
    settings: PoolSettings, data_dir: Path, pool_socket: socket.socket, board_path: Path
) -> ComputeBackend:
    """Return compute that accepts units.

    Parameters
    ----------
    data_dir
        Folder that workers of a cluster share with the validator.
    pool_socket
        Listening socket for local workers; unused with a cluster.
    board_path
        File in which the Supervisor publishes the living processes.

    Raises
    ------
    ConfigurationError
        If the cluster cannot be reached, or its workers cannot run our units.
    """
    if settings.compute_backend == "local":
        pool = ComputePool(
            settings,
            board_path,
            queue_limit=settings.pool_queue_limit,
            canary_interval_s=settings.canary_interval_s,
        )
        await pool.start(pool_socket)
        return pool
    cluster = DaskBackend(
        JobLedger(crash_limit=settings.unit_crash_limit),
        settings.dask_scheduler,
        data_dir.resolve(),
        queue_limit=settings.pool_queue_limit,
        memory_mib=settings.worker_hard_limit_mib,
        resources={settings.dask_resource: 1} if settings.dask_resource else None,
    )
    await cluster.start()
    return cluster
