"""The IO-Engine of a campaign: the real pool, with units from the book and answers to it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from campaigns.pool_faults.book import Book
from campaigns.pool_faults.handlers import digest_of, kind_of, payload_of

IN_FLIGHT = 24
MISFORTUNES = ("DeadlineExceeded", "QuarantinedError")
"""Failures that a kill or a stop can cause; the unit is then submitted again, as a task does."""
_MOST_STRIKES = 200
_BATCH = 64


def run_chaos_engine(
    settings: dict[str, Any], pool_socket: socket.socket, _signer_path: str, board: str
) -> None:
    """Submit units until the book is closed and every unit is answered."""
    import uvloop

    uvloop.run(_serve(settings, pool_socket, Path(board)))


async def _serve(settings: dict[str, Any], pool_socket: socket.socket, board: Path) -> None:
    from gaia.validator.app.pool.compute_pool import ComputePool

    limits = SimpleNamespace(unit_crash_limit=3, unit_timeout_s=settings["silence_s"])
    pool = ComputePool(limits, board)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await pool.start(pool_socket)
    book = Book(Path(settings["book"]))
    feed = Feed(book)
    feeding = [asyncio.create_task(_answer_units(pool, feed, settings)) for _ in range(IN_FLIGHT)]
    stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait())
    # A feeder ends only with an error, which then ends the engine.
    done, _ = await asyncio.wait({*feeding, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in feeding:
        task.cancel()
    await asyncio.gather(*feeding, return_exceptions=True)
    await pool.close()
    for task in done:
        task.result()


class Feed:
    """Source of units: first those that an earlier engine left open, then new ones."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._units = deque(book.open_units())

    async def next(self) -> tuple[int, int]:
        """Return (number, strikes) of the next unit; wait without limit if there are no more."""
        while not self._units:
            self._units.extend(self.book.create(_BATCH))
            if not self._units:
                await asyncio.sleep(0.05)
        return self._units.popleft()


async def _answer_units(pool: Any, feed: Feed, settings: dict[str, Any]) -> None:
    from gaia.validator.utils.identities import JobId
    from gaia.validator.utils.ipc_types import WorkUnit

    seed, engine = settings["seed"], os.getpid()
    while True:
        number, strikes = await feed.next()
        kind = kind_of(seed, number)
        while True:
            unit = WorkUnit(
                job_id=JobId(f"{number}.{strikes}"),
                handler=kind.handler,
                payload=payload_of(seed, number),
                # Poison needs time for its quarantine: it takes three workers, and seats may be empty.
                deadline_at=time.time()
                + settings["timeout_s"] * (10 if kind.failure == "QuarantinedError" else 1),
            )
            result = await pool.dispatch_and_wait(unit)
            failure = result.failure and result.failure.error_type
            if failure not in MISFORTUNES or failure == kind.failure or strikes >= _MOST_STRIKES:
                break
            where = "waiting" if "waiting" in result.failure.message else "in a worker"
            feed.book.strike(number, f"{failure}, {where}")
            strikes += 1
        digest = (result.value or {}).get("digest")
        feed.book.commit(number, result.attempt, digest, failure, engine)


def is_right(seed: int, number: int, digest: str | None, failure: str | None) -> bool:
    """Check an answer, and record it in the book."""
    expected = kind_of(seed, number).failure
    if expected is not None:
        return failure == expected
    return failure is None and digest == digest_of(seed, number)
