"""Observes a validator from outside: its board, heartbeats, note, metrics, disk and database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.cli.status.scrape import jobs_at
from gaia.validator.app.observation.facts import look
from gaia.validator.app.observation.work import read_work
from gaia.validator.utils.errors import ConfigurationError, GaiaError

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.app.observation.facts import Sight
    from gaia.validator.core.status.facts import Facts, Job, Work
    from gaia.validator.utils.config import Settings

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
    settings = source.settings
    sight = look(settings, source.data_dir)
    is_running = sight.processes.is_running
    can_read = may_start_database or is_running or not settings.database.is_embedded
    work, database_error = (
        _work(source, sight) if can_read else (None, "it is not read while the validator does not run")
    )
    jobs, metrics_error = _jobs(settings) if is_running else (None, "")
    return sight.facts(work=work, database_error=database_error, jobs=jobs, metrics_error=metrics_error)


def _work(source: Source, sight: Sight) -> tuple[Work | None, str]:
    try:
        with source:
            return source.read(
                lambda connection: read_work(connection, source.settings, sight.cadence, sight.now),
                _PATIENCE_S,
            ), ""
    except ConfigurationError as error:
        return None, error.problem
    except (GaiaError, OSError) as error:
        return None, str(error)


def _jobs(settings: Settings) -> tuple[list[Job] | None, str]:
    if settings.metrics_port == 0:
        return None, ""
    try:
        return jobs_at(settings.metrics_host, settings.metrics_port), ""
    except OSError as error:
        return None, str(getattr(error, "reason", error))
