"""Brings files of a forecast to disk: whole or not at all, few at a time, within a budget."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path

from gaia.tasks.defined_tasks.base import StoreAccess
from gaia.tasks.defined_tasks.weather.manifest import require_store_path
from gaia.validator.core.miner_http import MinerHttp, deadline
from gaia.validator.core.miner_session import Peer
from gaia.validator.core.miner_tally import Tally
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import MinerFault, TransientError

_MIB = 1024 * 1024


class Downloads:
    """Fetches files from all miners.

    Parameters
    ----------
    slots
        Shared by all requests to all miners.
    """

    def __init__(self, http: MinerHttp, slots: asyncio.Semaphore, settings: Settings) -> None:
        self._http = http
        self._slots = slots
        self._timeout_s = settings.miner_timeout_s
        self._concurrency = settings.miner_concurrency
        self._chunk_bytes = settings.chunk_max_mib * _MIB
        self._budget_bytes = settings.miner_budget_mib * _MIB
        self._per_miner: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(settings.miner_concurrency)
        )
        self._spent: Tally[tuple[str, str]] = Tally()

    async def fetch(self, peer: Peer, access: StoreAccess, paths: Iterable[str], directory: Path) -> int:
        """Store `paths` below `directory`, as `Miners.fetch_files` promises; return the bytes fetched."""
        missing = iter(
            [path for path in dict.fromkeys(paths) if not (directory / require_store_path(path)).exists()]
        )
        try:
            async with asyncio.TaskGroup() as group:
                lanes = [
                    group.create_task(self._lane(peer, access, missing, directory))
                    for _ in range(self._concurrency)
                ]
        except ExceptionGroup as failures:
            # The first failure ends the other lanes; a fault found in the same moment weighs more.
            faults, rest = failures.split(MinerFault)
            raise (faults or rest or failures).exceptions[0] from None
        return sum(lane.result() for lane in lanes)

    async def _lane(self, peer: Peer, access: StoreAccess, missing: Iterator[str], directory: Path) -> int:
        """Fetch one file after another until none is missing."""
        received = 0
        for path in missing:
            async with self._per_miner[peer.hotkey], self._slots, deadline(self._timeout_s, path):
                received += await self._fetch_one(peer, access, path, directory / path)
        return received

    async def _fetch_one(self, peer: Peer, access: StoreAccess, path: str, target: Path) -> int:
        account = (peer.hotkey, access.url_path)
        left = self._budget_bytes - self._spent.total(account)
        if left <= 0:
            raise MinerFault(f"forecast exceeds {self._budget_bytes // _MIB} MiB")
        received = 0

        def count(piece: bytes) -> None:
            nonlocal received
            received += len(piece)

        try:
            url, limit_bytes = f"{peer.base_url}{access.url_path}/{path}", min(self._chunk_bytes, left)
            await self._save(url, access.token, limit_bytes, target, count)
        except OSError as error:
            raise TransientError(f"{path} cannot be stored: {error.strerror}") from error
        finally:
            # What was received for nothing counts too.
            self._spent.add(account, received)
        return received

    async def _save(
        self, url: str, token: str, limit_bytes: int, target: Path, count: Callable[[bytes], None]
    ) -> None:
        """Write the body to a draft beside `target`, which takes its place once it is whole."""
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.part")

        def store(piece: bytes) -> None:
            count(piece)
            file.write(piece)

        try:
            with draft.open("wb") as file:
                headers = {"Authorization": f"Bearer {token}"}
                reply = await self._http.exchange(
                    "GET", url, headers=headers, limit_bytes=limit_bytes, sink=store
                )
            if reply.status != HTTPStatus.OK:
                raise reply.error(target.name)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
