"""Builds the Supervisor's options from the settings, as plain values."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from gaia.validator.app.supervisor_options import Options

if TYPE_CHECKING:
    from gaia.validator.utils.config import Settings


def supervisor_options(settings: Settings, lock_fd: int) -> Options:
    """Return the options of the Supervisor, which contain the settings only in pickled form.

    Parameters
    ----------
    lock_fd
        Descriptor of the data folder's lock; -1: the Supervisor has it already.
    """
    return Options(
        data_dir=str(settings.data_dir.resolve()),
        sandbox=settings.sandbox,
        settings=pickle.dumps(settings),
        signer_settings=pickle.dumps(settings.signer),
        workers=settings.pool.seats,
        embedded_database=settings.database.is_embedded,
        start_method=settings.worker_start_method,
        worker_max_jobs=settings.worker_max_jobs,
        worker_idle_s=settings.worker_idle_s,
        worker_max_age_s=settings.worker_max_age_s,
        engine_silence_s=settings.engine_silence_s,
        signer_silence_s=settings.engine_silence_s + settings.chain_timeout_s,
        worker_soft_limit_mib=settings.worker_soft_limit_mib,
        worker_hard_limit_mib=settings.worker_hard_limit_mib,
        unit_timeout_s=settings.unit_timeout_s,
        drain_timeout_s=settings.drain_timeout_s,
        poll_s=settings.supervisor_poll_s,
        log_level=settings.log_level,
        log_format=settings.log_format,
        lock_fd=lock_fd,
    )
