"""Downloads files of a forecast: complete or not at all, few at a time, within a budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gaia.tasks.defined_tasks.weather.wire.manifest import require_store_path
from gaia.tasks.defined_tasks.weather.wire.store_layout import file_max_bytes
from gaia.validator.core.miners.http import MinerHttp, deadline
from gaia.validator.core.miners.slots import Turns
from gaia.validator.core.miners.tally import Tally
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import MinerFault, OwnFailure
from gaia.validator.utils.files import whole_file

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.base import StoreAccess
    from gaia.validator.core.miners.session import Peer
    from gaia.validator.utils.settings.miners import MinersSettings

_MIB = 1024 * 1024
_performance = structlog.get_logger("performance")


class Downloads:
    """Downloads files from all miners, a limited number at once.

    The budget of a forecast is counted by its folder, which is that of a run and a hotkey. The
    address from the miner may differ each time.
    """

    def __init__(self, http: MinerHttp, settings: MinersSettings, grid: str) -> None:
        self._http = http
        self._timeout_s = settings.miner_timeout_s
        self._concurrency = settings.miner_concurrency
        self._slots = asyncio.Semaphore(settings.fetch_concurrency)
        self._per_miner: Turns[str] = Turns(settings.miner_concurrency)
        self._grid = grid
        self._chunk_bytes = settings.chunk_max_mib * _MIB
        self._budget_bytes = settings.miner_budget_mib * _MIB
        self._spent: Tally[Path] = Tally()

    async def fetch(self, peer: Peer, access: StoreAccess, paths: Iterable[str], directory: Path) -> int:
        """Download `paths` to `directory`, as in `Miners.fetch_files`; return the bytes received."""
        began = time.monotonic()
        wanted = [require_store_path(path) for path in dict.fromkeys(paths)]
        with border(Party.DISK, f"storing {directory.name}"):
            missing = iter([path for path in wanted if not (directory / path).exists()])
        try:
            async with asyncio.TaskGroup() as group:
                lanes = [
                    group.create_task(self._lane(peer, access, missing, directory))
                    for _ in range(self._concurrency)
                ]
        except ExceptionGroup as failures:
            raise _weightiest(failures) from None
        received = sum(lane.result() for lane in lanes)
        seconds = time.monotonic() - began
        _performance.debug("files_fetched", files=len(wanted), bytes=received, seconds=round(seconds, 3))
        return received

    async def _lane(self, peer: Peer, access: StoreAccess, missing: Iterator[str], directory: Path) -> int:
        """Download one file after another until none is missing."""
        received = 0
        for path in missing:
            with border(Party.MINER, path):
                async with (
                    self._per_miner.turn(peer.hotkey),
                    self._slots,
                    deadline(self._timeout_s, path),
                ):
                    received += await self._fetch_one(peer, access, path, directory)
        return received

    async def _fetch_one(self, peer: Peer, access: StoreAccess, path: str, directory: Path) -> int:
        left = self._budget_bytes - self._spent.total(directory)
        if left <= 0:
            raise MinerFault(f"forecast exceeds {self._budget_bytes // _MIB} MiB")
        received = 0
        with whole_file(directory / path) as file:

            def store(piece: bytes) -> None:
                nonlocal received
                received += len(piece)
                file.write(piece)

            is_ours = False
            try:
                reply = await self._http.exchange(
                    "GET",
                    f"{peer.base_url}{access.url_path}/{path}",
                    headers={"Authorization": f"Bearer {access.token}"},
                    limit_bytes=min(file_max_bytes(path, self._grid), self._chunk_bytes, left),
                    sink=store,
                )
            except OwnFailure:
                is_ours = True
                raise
            finally:
                # Bytes of a failed download count too, unless the failure is ours.
                self._spent.add(directory, 0 if is_ours else received)
            if reply.status != HTTPStatus.OK:
                raise reply.error(path.rpartition("/")[2])
        return received


def _weightiest(failures: ExceptionGroup[Exception]) -> Exception:
    """Return the failure that decides, if several lanes failed at once.

    A fault of the miner comes first, then a failure of ours, then an unreachable miner.
    """
    for kind in (MinerFault, OwnFailure):
        chosen = failures.subgroup(kind)
        if chosen is not None:
            return chosen.exceptions[0]
    return failures.exceptions[0]
