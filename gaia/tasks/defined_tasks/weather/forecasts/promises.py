"""Reads the digests of frozen manifests when a lead is scored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gaia.validator.db import queries
from gaia.validator.utils.errors import InvalidManifest, OwnFailure
from gaia.validator.utils.logs.context import shared_task

if TYPE_CHECKING:
    from gaia.validator.db.connection import Database
    from gaia.validator.db.queries import Forecast

MOST_AT_ONCE: Final = 16
"""Maximum number of manifests in memory; each may have the largest allowed size."""


class Promises:
    """Reads the manifests that are requested in one turn of the loop together, and caches none."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Forecast, asyncio.Future[bytes]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def of(self, forecast: Forecast, paths: Sequence[str]) -> dict[str, str]:
        """Return the digests of `paths`, which are files of the forecast's store.

        Raises
        ------
        MinerFault
            If the manifest lacks one of them.
        DatabaseFailure
            If the database failed.
        """
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((forecast, future))
        if self._reading is None:
            self._reading = shared_task(self._read())
        files: dict[str, str] = json.loads(await future)["files"]
        if missing := [path for path in paths if path not in files]:
            raise InvalidManifest(f"the frozen manifest lacks {len(missing)} files, such as {missing[0]}")
        return {path: files[path] for path in paths}

    async def _read(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(0)  # yield to the loop once, so that others may ask
                taken, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
                await self._answer([one for one in taken if not one[1].done()])
        finally:
            self._reading = None

    async def _answer(self, taken: Sequence[tuple[Forecast, asyncio.Future[bytes]]]) -> None:
        """Resolve each request with its manifest, or all with one error."""
        try:
            async with self._database.reading() as connection:
                contents = await queries.manifests_of(connection, [forecast for forecast, _ in taken])
        except Exception as error:  # noqa: BLE001 - every caller that waits raises it
            for _, future in taken:
                if not future.done():
                    future.set_exception(error)
            return
        for forecast, future in taken:
            content = contents.get((forecast.run_id, forecast.hotkey))
            if future.done():
                continue
            if content is None:
                future.set_exception(OwnFailure(f"the manifest of {forecast.hotkey} is no longer stored"))
            else:
                future.set_result(content)
