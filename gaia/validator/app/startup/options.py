"""Builds the Supervisor's options from the settings, as plain values."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gaia.validator.app.supervisor_options import DATABASE_SILENCE_S, Options
from gaia.validator.utils.proxies import PROXIES
from gaia.validator.utils.setting_sources import FOLDER_VARIABLE
from gaia.validator.utils.version import commit, version

if TYPE_CHECKING:
    from gaia.validator.utils.config import Settings

_DIGITS = 12


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
        database_silence_s=max(settings.engine_silence_s, DATABASE_SILENCE_S),
        worker_soft_limit_mib=settings.worker_soft_limit_mib,
        worker_hard_limit_mib=settings.worker_hard_limit_mib,
        unit_timeout_s=settings.unit_timeout_s,
        drain_timeout_s=settings.drain_timeout_s,
        poll_s=settings.supervisor_poll_s,
        metrics_host=settings.metrics_host,
        metrics_port=settings.metrics_port,
        metrics_names=settings.observation.served_names,
        build=_build(settings.describe(), settings.rule_set),
        log_level=settings.log_level,
        log_format=settings.log_format,
        log_files=settings.log_files,
        lock_fd=lock_fd,
        withheld=(*settings.secret_variables(), *PROXIES, FOLDER_VARIABLE),
    )


def _build(rows: Sequence[tuple[str, str, str]], rule_set: str) -> dict[str, str]:
    """Return the labels that say what runs; the digest changes with every setting but the secret ones."""
    values = "\n".join(f"{name}={value}" for name, value, _ in rows)
    config = hashlib.sha256(values.encode()).hexdigest()[:_DIGITS]
    return {"version": version(), "commit": commit(), "rule_set": rule_set, "config": config}
