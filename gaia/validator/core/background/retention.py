"""Removes scores of fields, manifests and server logs that are too old, and makes room for those to come."""

from __future__ import annotations

import asyncio
import os
import shutil
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from gaia.validator.db.retention import (
    day_of,
    drop_score_days,
    make_score_days,
    newest_run,
    remove_manifests,
    remove_matrix_contents,
    runs_with_old_manifests,
)
from gaia.validator.utils.borders import Party, border

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import Clock
    from gaia.validator.db.connection import Database
    from gaia.validator.utils.settings.files import FilesSettings
    from gaia.validator.utils.settings.weights import WeightsSettings

log = structlog.get_logger(__name__)

MOST_LOG_BYTES: Final = 16 * 2**20
"""Size of the embedded server's log at which it begins anew; one older log is kept."""

_AHEAD: Final = timedelta(days=14)
_LONGEST_GAP: Final = timedelta(days=7)
"""Time after the newest run that still counts for the age of others."""
_RUNS_AT_ONCE: Final = 400
_WINDOWS: Final = 2
"""Windows of the weights for which copies of Gram matrices stay."""


class Retention:
    """Keeps the size of a database and its logs flat.

    Parameters
    ----------
    clock
        The calendar of the runs.
    """

    def __init__(
        self, settings: FilesSettings, weights: WeightsSettings, database: Database, clock: Clock
    ) -> None:
        self._keep = timedelta(days=settings.keep_scores_days)
        window = timedelta(days=weights.weights_window_days)
        self._keep_manifests = max(timedelta(days=settings.keep_manifests_days), window)
        self._keep_chunks = timedelta(days=settings.keep_inputs_days)
        self._keep_matrices = _WINDOWS * window
        self._log = settings.data_dir / "postgres" / "postgres.log"
        self._database = database
        self._clock = clock

    async def remove_old_data(self) -> None:
        """Make the parts of the next days, and remove what is too old.

        Scores of leads and runs, and the vectors, stay: they are small, and weights are explained by them.

        Raises
        ------
        DatabaseFailure
            If the database fails, or others hold locks for too long.
        OwnFailure
            If the disk fails.
        """
        with border(Party.DISK, "beginning the server's log anew"):
            await asyncio.to_thread(_begin_anew, self._log, MOST_LOG_BYTES)
        now = self._clock.now()
        if (newest := await self._database.run(newest_run)) is not None:
            # A clock that is wrong for a moment must not age what is there.
            now = min(now, newest + _LONGEST_GAP)
        latest = max(now, newest or now)
        made = await self._database.run(
            partial(make_score_days, first=day_of(now), before=day_of(latest + _AHEAD))
        )
        dropped = await self._database.run(partial(drop_score_days, before=day_of(now - self._keep)))
        old = partial(
            runs_with_old_manifests,
            before=now - self._keep_manifests,
            completed=now - self._keep_chunks,
            most=_RUNS_AT_ONCE,
        )
        runs = await self._database.run(old)
        for run_id in runs:
            await self._database.run(partial(remove_manifests, run_id=run_id))
        await self._database.run(partial(remove_matrix_contents, before=now - self._keep_matrices))
        if made or dropped or runs:
            log.info(
                "old_data_removed", parts_made=made, parts_removed=dropped, runs_without_manifests=len(runs)
            )


def _begin_anew(path: Path, most: int) -> None:
    """Keep the end of a large log beside it, and empty it; its writer appends, so it goes on from the start."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return  # the server is not ours
    if size > most:
        with path.open("rb") as source, path.with_name(path.name + ".1").open("wb") as kept:
            source.seek(size - most)
            shutil.copyfileobj(source, kept)
        os.truncate(path, 0)
