"""What only a cluster can do to us: no scheduler, strange workers, a scheduler that comes back, no nanny."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from distributed import Client

from gaia.validator.app.backends.dask_backend import DaskBackend
from gaia.validator.app.io_compute import start_compute
from gaia.validator.app.pool.job_ledger import JobLedger
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.settings.pool import PoolSettings
from tests.support.backends import HANDLERS, DaskCluster, eventually, lines_in, lines_of
from tests.support.builders import a_unit
from tests.support.patience import patience
from tests.support.repository import ROOT
from tests.support.roles import has_ended

MakeCluster = Callable[..., DaskCluster]


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[MakeCluster]:
    """Start a cluster that ends with the test; `workers=0` for a scheduler alone."""
    made: list[DaskCluster] = []

    def make(workers: int = 1, scheduler_failures: int | None = None) -> DaskCluster:
        made.append(DaskCluster(tmp_path / "cluster", workers=workers, allowed_failures=scheduler_failures))
        return made[-1]

    yield make
    for cluster in made:
        cluster.end()


@asynccontextmanager
async def backend_on(
    cluster: DaskCluster, data_dir: Path, queue: JobLedger | None = None, **options: object
) -> AsyncIterator[DaskBackend]:
    backend = DaskBackend(queue or JobLedger(), cluster.address, data_dir, handlers=HANDLERS, **options)  # type: ignore[arg-type]
    await backend.start()
    yield backend
    await backend.close()


async def test_missing_library_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)

    with pytest.raises(ConfigurationError, match="GAIA_COMPUTE_BACKEND.*requirements/dask.lock"):
        await DaskBackend(JobLedger(), "tcp://127.0.0.1:1", tmp_path).start()


async def test_missing_scheduler_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(ConfigurationError, match=f"GAIA_DASK_SCHEDULER: no scheduler answers at .*:{port}"):
        await DaskBackend(JobLedger(), f"tcp://127.0.0.1:{port}", tmp_path, timeout_s=0.5).start()

    assert list(tmp_path.iterdir()) == []


async def test_workers_without_our_files_are_refused(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster()
    await cluster.wait_for_workers(1)
    # To each process the folder it stands in, as /data is another disk on each machine.
    data_dir = Path("/proc/self/cwd") / os.path.relpath(tmp_path)

    with pytest.raises(ConfigurationError, match="does not see the folder"):
        await DaskBackend(JobLedger(), cluster.address, data_dir).start()

    assert not list(tmp_path.glob("cluster-probe*"))


async def test_workers_with_other_code_are_refused(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(workers=0)
    changed = tmp_path / "changed"
    copy_with_a_change(changed)
    cluster.add_workers("--nworkers", "1", PYTHONPATH=str(changed))
    await cluster.wait_for_workers(1)

    with pytest.raises(ConfigurationError, match="does not run our code"):
        await DaskBackend(JobLedger(), cluster.address, tmp_path).start()


def copy_with_a_change(root: Path) -> None:
    """Put a copy of our code there whose scoring differs by a comment."""
    shutil.copytree(ROOT / "gaia", root / "gaia", ignore=shutil.ignore_patterns("__pycache__", "data"))
    with (root / "gaia/tasks/defined_tasks/weather/validator/scoring.py").open("a") as scoring:
        scoring.write("# other\n")


async def test_only_workers_that_offer_the_resource_are_used(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster(workers=1)
    async with backend_on(cluster, tmp_path, resources={"gaia": 1}) as pool:
        await cluster.wait_for_workers(1)
        asked = asyncio.create_task(pool.dispatch_and_wait(a_unit()))
        await asyncio.sleep(0.1)
        assert (pool.workers, pool.queue_depth) == (0, 1)

        cluster.add_workers("--nworkers", "1", "--resources", "gaia=1")

        assert (await asked).succeeded
        assert pool.workers == 1


async def test_unit_without_a_nanny_is_ended_by_its_own_watchdog(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster(workers=0)
    cluster.add_workers("--no-nanny")
    started = tmp_path / "started"
    async with backend_on(cluster, tmp_path) as pool:
        unit = a_unit(
            handler="test.hang_natively",
            payload={"started": str(started)},
            deadline_at=time.time() + patience(6.0),
        )
        answer = await pool.dispatch_and_wait(unit)
        (victim,) = map(int, lines_of(started))

        assert answer.failure is not None
        assert answer.failure.error_type == "DeadlineExceeded"
        await eventually(lambda: has_ended(victim), "the watchdog", timeout_s=5.0)
        await eventually(lambda: pool.busy == 0, "the loss to be noted")


async def test_worker_that_is_retired_is_lost_without_blame(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster()
    await cluster.wait_for_workers(1)
    ledger = JobLedger(crash_limit=1)
    started, gate = tmp_path / "started", tmp_path / "gate"
    async with backend_on(cluster, tmp_path, queue=ledger) as pool:
        payload = {"started": str(started), "gate": str(gate)}
        asked = asyncio.create_task(pool.dispatch_and_wait(a_unit(handler="test.gated", payload=payload)))
        await lines_in(started, 1)

        async with Client(cluster.address, asynchronous=True, set_as_default=False) as operator:  # type: ignore[no-untyped-call]
            busy = list((await operator.scheduler.identity())["workers"])
            await operator.retire_workers(busy, close_workers=True)
        await eventually(lambda: pool.queue_depth == 1, "the unit to come back")
        (death,) = ledger.crashes.by_job[JobId("job")].deaths
        cluster.add_workers("--nworkers", "1")
        await lines_in(started, 2)
        gate.touch()

        assert (await asked).attempt == 2
        assert not death.blames_unit
        assert "left" in death.cause


async def test_unit_is_run_again_when_the_scheduler_comes_back(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster()
    started, gate = tmp_path / "started", tmp_path / "gate"
    async with backend_on(cluster, tmp_path, timeout_s=patience(2.0)) as pool:
        payload = {"started": str(started), "gate": str(gate)}
        asked = asyncio.create_task(pool.dispatch_and_wait(a_unit(handler="test.gated", payload=payload)))
        await lines_in(started, 1)

        await asyncio.to_thread(cluster.restart_scheduler)
        cluster.add_workers("--nworkers", "1")
        await lines_in(started, 2)
        gate.touch()

        answer = await asked
        assert answer.succeeded
        assert answer.attempt > 1


async def test_close_ends_what_runs_and_begins_nothing_more(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster()
    started, book = tmp_path / "started", tmp_path / "book"
    async with backend_on(cluster, tmp_path) as pool:
        asked = [
            asyncio.create_task(pool.dispatch_and_wait(a_unit(name, handler=handler, payload=payload)))
            for name, handler, payload in (
                ("runs", "test.hang_natively", {"started": str(started)}),
                ("waits", "test.note", {"book": str(book), "line": "x"}),
            )
        ]
        victim = int((await lines_in(started, 1))[0])
        await eventually(lambda: pool.queue_depth == 1, "the unit to wait")

    await eventually(lambda: has_ended(victim), "the worker to be ended")
    assert [each.done() for each in asked] == [False, False]
    for each in asked:
        each.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert lines_of(book) == []
    assert not list(tmp_path.glob("cluster-probe*"))


async def test_schedulers_own_verdict_counts_as_a_crash_too(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster(workers=1, scheduler_failures=0)
    async with backend_on(cluster, tmp_path) as pool:
        answer = await pool.dispatch_and_wait(a_unit(handler="test.segfault"))

    assert answer.failure is not None
    assert answer.failure.error_type == "QuarantinedError"
    assert answer.attempt == 3


def test_settings_lead_to_the_cluster_and_its_client_runs_on_the_engines_loop(
    make_cluster: MakeCluster, tmp_path: Path
) -> None:
    cluster = make_cluster()
    settings = PoolSettings(compute_backend="dask", dask_scheduler=cluster.address, sandbox="off")

    async def run() -> str:
        with socket.socket() as unused:
            pool = await start_compute(settings, tmp_path, unused, tmp_path / "board")
        result = await pool.dispatch_and_wait(a_unit(handler="weather.score.by_hand"))
        await pool.close()
        assert result.failure is not None
        return result.failure.error_type

    assert uvloop.run(run()) == "UnknownHandler"
