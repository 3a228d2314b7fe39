"""Observes a validator from outside: its board, heartbeats, note, metrics, disk and database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.cli.status.scrape import jobs_at
from gaia.validator.app.observation.pages.outside import Look, look_at
from gaia.validator.app.observation.pages.work import read_work
from gaia.validator.utils.errors import ConfigurationError, GaiaError

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.core.status.facts import Facts, Job, Work
    from gaia.validator.utils.settings.observation import ObservationSettings

_PATIENCE_S = 5.0
"""Seconds that a database may take to answer, because a probe cannot wait longer."""


def observe(source: Source, *, may_start_database: bool) -> Facts:
    """Return what is known about the validator of `source` now; nothing that is out of reach is an error.

    Parameters
    ----------
    source
        A source that is not opened yet.
    may_start_database
        Whether the embedded database of a stopped validator is started for the time of the reading.
        A validator cannot start meanwhile.
    """
    look = look_at(source.settings.status, source.data_dir)
    is_running = look.processes.is_running
    can_read = may_start_database or is_running or not source.settings.database.is_embedded
    work, database_error = (
        _work(source, look) if can_read else (None, "it is not read while the validator does not run")
    )
    jobs, metrics_error = _jobs(source.settings.observation) if is_running else (None, "")
    return look.facts(work, database_error, jobs, metrics_error)


def _work(source: Source, look: Look) -> tuple[Work | None, str]:
    sources, contract = look.settings.sources, look.settings.contract
    try:
        with source:
            return source.read(
                lambda connection: read_work(connection, sources, contract, look.cadence, look.now),
                _PATIENCE_S,
            ), ""
    except ConfigurationError as error:
        return None, error.problem
    except (GaiaError, OSError) as error:
        return None, str(error)


def _jobs(observation: ObservationSettings) -> tuple[list[Job] | None, str]:
    if observation.metrics_port == 0:
        return None, ""
    try:
        return jobs_at(observation.metrics_host, observation.metrics_port), ""
    except (OSError, ValueError) as error:
        return None, str(getattr(error, "reason", error))
