"""Each `ComputeBackend`, for the suite that says what it must do."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from gaia.validator.app.backends.dask_backend import DaskBackend
from gaia.validator.app.pool.compute_pool import ComputePool
from gaia.validator.app.pool.job_ledger import JobLedger
from gaia.validator.app.pool.protocols import ComputeBackend
from tests.support.backends import HANDLERS, MEMORY_MIB, WORKERS, Crew, DaskCluster, eventually
from tests.support.compute import MOST_WAITING, Compute
from tests.support.patience import patience

_ANSWER_S = 10.0
"""Seconds that a cluster has for an answer on a quiet machine."""


@pytest.fixture(scope="module")
def crews(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Call it for a Supervisor with compute workers of which none has died yet."""
    crew: list[Crew] = []

    def fresh() -> Crew:
        if crew and not crew[0].is_fresh:
            crew.pop().end()
        if not crew:
            crew.append(Crew(tmp_path_factory.mktemp("crew") / "crew"))
        return crew[0]

    yield fresh
    for each in crew:
        each.end()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A scheduler with two workers, as long as this module's tests run."""
    cluster = DaskCluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.end()


@contextlib.asynccontextmanager
async def local_pool(crew: Crew) -> AsyncIterator[ComputePool]:
    limits = SimpleNamespace(unit_crash_limit=3, unit_timeout_s=60.0)
    pool = ComputePool(limits, crew.board_path, queue_limit=MOST_WAITING)
    await pool.start(crew.listener.dup())
    yield pool
    # Nobody is left on the doorstep, neither known to this pool nor to the next.
    await eventually(lambda: pool.workers >= WORKERS, "all workers")
    await pool.close()


@contextlib.asynccontextmanager
async def cluster_at(address: str, folder: Path) -> AsyncIterator[DaskBackend]:
    backend = DaskBackend(
        JobLedger(),
        address,
        folder,
        queue_limit=MOST_WAITING,
        handlers=HANDLERS,
        memory_mib=MEMORY_MIB,
        timeout_s=patience(_ANSWER_S),
    )
    await backend.start()
    yield backend
    await backend.close()


@pytest.fixture
async def compute(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Compute]:
    """The backend that the test's mark names, with workers that hold nothing."""
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "local":
            crew = request.getfixturevalue("crews")()
            folder = crew.folder(uuid4().hex)
            pool: ComputeBackend = await stack.enter_async_context(local_pool(crew))
        else:
            folder = tmp_path / uuid4().hex
            folder.mkdir()
            address = request.getfixturevalue("cluster").address
            pool = await stack.enter_async_context(cluster_at(address, folder))
        compute = Compute(pool, folder)
        yield compute
        await compute.release()
