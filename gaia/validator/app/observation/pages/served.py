"""Serves the pages about runs, miners and weights from a model that a thread reads once a minute at most."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.app.observation.jobs import JOBS
from gaia.validator.app.observation.pages.outside import Look, look_at
from gaia.validator.app.observation.pages.work import read_work
from gaia.validator.app.observation.serving import Answer
from gaia.validator.core.site.build import Built, site_of
from gaia.validator.core.site.frame import preparing
from gaia.validator.core.site.pages import renderers
from gaia.validator.db.connection import Database
from gaia.validator.db.published import NOTHING, Published, read_published
from gaia.validator.utils.errors import ConfigurationError, GaiaError
from gaia.validator.utils.machine.hosts import is_loopback

if TYPE_CHECKING:
    from gaia.validator.core.site.model import Site
    from gaia.validator.core.status.facts import Work
    from gaia.validator.utils.settings.handed import StatusSettings

REFRESH_S: Final = 60.0
"""Seconds for which a reading is shown before the next request starts another."""
_WHOLE_EVERY_S: Final = 3600.0
"""Seconds after which completed runs are read again, as after a repair by hand."""
_OLD_S: Final = 180.0
"""Age of a reading in seconds from which it is not shown while another is made."""
_RETRY_S: Final = 5.0
"""Seconds for which a failed reading stands before a request starts another."""
_PATIENCE_S: Final = 5.0
_TYPES: Final = {"html": "text/html; charset=utf-8", "json": "application/json"}
_log = logging.getLogger("application")


@dataclass(frozen=True, slots=True)
class _Reading:
    """One reading, from which pages are made as they are asked for."""

    made_at: float
    renderers: Mapping[str, Callable[[], bytes]]


class StatusPages:
    """Pages for whoever may reach the endpoints; any thread may ask, and no request waits for the database.

    The database is read by a thread of its own, with a connection of its own, so that neither the event loop nor
    its connections are touched.

    Parameters
    ----------
    settings
        Returns the sections in force.
    """

    def __init__(self, settings: Callable[[], StatusSettings]) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._reading: _Reading | None = None
        self._stored: Published = NOTHING
        self._built = Built()
        self._whole_at = float("-inf")
        self._reader: threading.Thread | None = None
        self._retry_at = float("-inf")

    def answer(self, path: str) -> Answer | None:
        """Return the page or the data at a path; None if there is none."""
        wanted = path.removeprefix("/") or "index.html"
        kind = wanted.rpartition(".")[2]
        if kind not in _TYPES:
            return None
        reading = self._newest()
        if reading is None:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, _TYPES["html"], preparing())
        made = reading.renderers.get(wanted)
        return None if made is None else Answer(HTTPStatus.OK, _TYPES[kind], made())

    def _newest(self) -> _Reading | None:
        """Return the newest reading, and start another if it is due."""
        with self._lock:
            now = time.monotonic()
            age_s = float("inf") if self._reading is None else now - self._reading.made_at
            is_reading = self._reader is not None and self._reader.is_alive()
            if age_s >= REFRESH_S and now >= self._retry_at and not is_reading:
                self._reader = threading.Thread(target=self._read, name="status-pages", daemon=True)
                self._reader.start()
            return self._reading if age_s < _OLD_S else None

    def _read(self) -> None:
        try:
            self._reading = _Reading(time.monotonic(), renderers(self._site(self._settings())))
        except Exception:  # noqa: BLE001 - the pages stay as they are, and a later request tries again
            self._retry_at = time.monotonic() + _RETRY_S
            _log.exception("status_pages_failed")

    def _known(self) -> Published:
        """Return the reading whose completed runs need not be read again; an empty one once an hour."""
        now = time.monotonic()
        if now < self._whole_at + _WHOLE_EVERY_S:
            return self._stored
        self._whole_at = now
        return NOTHING

    def _site(self, settings: StatusSettings) -> Site:
        look = look_at(settings, settings.files.data_dir)
        work, error = None, ""
        try:
            work, self._stored = asyncio.run(_database(settings, look, self._known()))
        except ConfigurationError as failure:
            error = failure.problem
        except (GaiaError, OSError) as failure:
            error = str(failure)
        facts = look.facts(work, error, JOBS.facts(), "")
        window = timedelta(days=settings.weights.weights_window_days)
        return site_of(
            facts,
            self._stored,
            window,
            for_operator=is_loopback(settings.observation.metrics_host),
            built=self._built,
        )


async def _database(
    settings: StatusSettings, look: Look, known: Published = NOTHING
) -> tuple[Work, Published]:
    """Return what the database holds, from one snapshot and from an earlier reading."""
    database = await Database.connect(
        settings.database.dsn(embedded_dsn(settings.files.data_dir)),
        timeout_s=min(_PATIENCE_S, settings.database.database_timeout_s),
        pool_size=1,
    )
    try:
        async with database.reading() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            work = await read_work(connection, settings.sources, settings.contract, look.cadence, look.now)
            return work, await read_published(connection, known=known)
    finally:
        await database.close()
