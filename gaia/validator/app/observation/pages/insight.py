"""Gathers the facts about the validator from within its IO-Engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.validator.app.observation.pages.outside import Look, look_at
from gaia.validator.app.observation.pages.work import read_work
from gaia.validator.utils.errors import GaiaError

if TYPE_CHECKING:
    from gaia.validator.core.status.facts import Facts, Job, Seats, Work
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.utils.settings.handed import StatusSettings

PATIENCE_S = 5.0
"""Seconds that the database may take to answer before it counts as away."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_START_FIELD = 19
"""Place of the start time in /proc/PID/stat, counted from the field behind the name."""


class Insight:
    """Looks at the validator as `gaia status` does, but asks its own database pool and its own jobs.

    Parameters
    ----------
    settings
        Returns the settings in force.
    jobs
        Returns how each recurring job does.
    seats
        Returns the seats of the compute pool.
    """

    def __init__(
        self,
        settings: Callable[[], StatusSettings],
        database: Database,
        jobs: Callable[[], Sequence[Job]],
        seats: Callable[[], Seats],
    ) -> None:
        self._settings = settings
        self._database = database
        self._jobs = jobs
        self._seats = seats

    async def facts(self) -> Facts:
        """Return what is known now; a database that does not answer is a fact, not an error."""
        settings = self._settings()
        look = await asyncio.to_thread(look_at, settings, settings.files.data_dir.resolve())
        work, database_error = await self._work(look)
        return replace(look.facts(work, database_error, self._jobs(), ""), seats=self._seats())

    async def _work(self, look: Look) -> tuple[Work | None, str]:
        async def read(connection: Connection) -> Work:
            sources, contract = look.settings.sources, look.settings.contract
            return await read_work(connection, sources, contract, look.cadence, look.now)

        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._database.run(read), ""
        except TimeoutError:
            return None, f"no answer in {PATIENCE_S:g} s"
        except GaiaError as error:
            return None, str(error)


def life_of(pid: int) -> str:
    """Return what tells the process `pid` apart from all that have had or will have its number on this machine."""
    fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return f"{_BOOT.read_text().strip()}/{pid}/{fields[_START_FIELD]}"
