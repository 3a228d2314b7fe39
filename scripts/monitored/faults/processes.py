"""Faults of processes: they are killed, stopped, kept busy, or use too much."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import psutil

from gaia.cli.runbooks import pool, shared
from gaia.cli.runbooks import processes as runbooks
from gaia.localnet.options import data_dir
from gaia.validator.app.meeting.lease_book import Holding, LeaseBook
from gaia.validator.app.meeting.rendezvous import lease_book_path
from monitored.faults.scene import (
    ENGINE,
    SIGNER,
    WORKER,
    Fault,
    Ground,
    Scene,
    repeated,
    send,
)

_MOST_KILLS = 11
"""One less than the deaths in a row at which the validator ends."""
_ASLEEP_S = 63.0
_SESSIONS = 6
_LETTERS = 950_000_000
_FIRST = -20
_ASKING = 8
_CROWD = """
import socket, sys, threading, time
def ask():
    while True:
        try:
            with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30) as connection:
                connection.sendall(b"GET /metrics HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\\r\\n")
                while connection.recv(65536):
                    pass
        except OSError:
            time.sleep(0.1)
for _ in range(int(sys.argv[2])):
    threading.Thread(target=ask).start()
"""


@asynccontextmanager
async def killed_workers(scene: Ground) -> AsyncIterator[None]:
    """Kill each compute worker that comes up, one at a time."""
    killed: set[int] = set()

    def kill() -> None:
        fresh = [pid for pid in scene.pids(WORKER) if pid not in killed]
        if fresh and len(killed) < _MOST_KILLS:
            killed.add(fresh[0])
            send(fresh[:1], signal.SIGKILL)

    async with repeated(kill, 0.5):
        yield


@asynccontextmanager
async def killed_signer(scene: Ground) -> AsyncIterator[None]:
    """Kill the chain signer whenever it comes up, so that the waits before its starts grow."""
    killed: set[int] = set()

    def kill() -> None:
        fresh = set(scene.pids(SIGNER)) - killed
        if len(killed) < _MOST_KILLS:
            killed.update(fresh)
            send(list(fresh), signal.SIGKILL)

    async with repeated(kill, 0.1):
        yield


@asynccontextmanager
async def crowded_endpoint(scene: Scene) -> AsyncIterator[None]:
    """Let a program ask for the metrics without a pause, over several connections at once."""
    (engine,) = scene.pids(ENGINE)
    port = str(scene.subnet.options.metrics_port)
    crowd = await asyncio.create_subprocess_exec(sys.executable, "-c", _CROWD, port, str(_ASKING))
    try:
        # Other programs of the machine would else take from its core what the fault needs.
        for pid in (engine, crowd.pid):
            _prefer(pid)
        yield
    finally:
        crowd.kill()
        await crowd.wait()
        _autogroup(engine).write_text("0")


def _prefer(pid: int) -> None:
    """Give all threads of a process the highest priority, and its session too."""
    for thread in psutil.Process(pid).threads():
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, thread.id, _FIRST)
    _autogroup(pid).write_text(str(_FIRST))


def _autogroup(pid: int) -> Path:
    """Return the file with the priority of a process's session, among which the kernel shares out cores first."""
    file = Path("/proc", str(pid), "autogroup")
    return file if file.exists() else Path(os.devnull)


@asynccontextmanager
async def choppy_engine(scene: Scene) -> AsyncIterator[None]:
    """Stop the IO-Engine for three tenths of a second, again and again, as an overcommitted host does."""
    (pid,) = scene.pids(ENGINE)
    is_stopped = False

    def turn() -> None:
        nonlocal is_stopped
        is_stopped = not is_stopped
        send([pid], signal.SIGSTOP if is_stopped else signal.SIGCONT)

    try:
        async with repeated(turn, 0.3):
            yield
    finally:
        send([pid], signal.SIGCONT)


@asynccontextmanager
async def few_files(scene: Ground) -> AsyncIterator[None]:
    """Lower the IO-Engine's limit of open files to a few more than it has open."""
    (pid,) = scene.pids(ENGINE)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (psutil.Process(pid).num_fds() + 4, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@asynccontextmanager
async def big_query(scene: Scene) -> AsyncIterator[None]:
    """Hold some GiB in sessions of the database, as a large query does."""
    query = f"DO $$ DECLARE held text := repeat('x', {_LETTERS}); BEGIN PERFORM pg_sleep(600); END $$"
    async with AsyncExitStack() as stack:
        running = []
        for _ in range(_SESSIONS):
            connection = await stack.enter_async_context(scene.connected())
            running.append(asyncio.create_task(connection.execute(query, timeout=600)))
        try:
            yield
        finally:
            async with scene.connected() as another:
                await another.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO $$ DECLARE%'"
                )
            await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def stopped_workers(scene: Scene) -> AsyncIterator[None]:
    """Stop every worker that comes up with SIGSTOP; each is killed as silent, and replaced."""

    def stop() -> None:
        send(scene.pids(WORKER), signal.SIGSTOP)

    try:
        # A worker that meets the engine before it is stopped counts as healthy for its first seconds.
        async with repeated(stop, 0.005):
            yield
    finally:
        send(scene.pids(WORKER), signal.SIGCONT)


@asynccontextmanager
async def slow_worker(scene: Scene) -> AsyncIterator[None]:
    """Stop the only worker in the midst of each unit for more than a minute."""
    leases = LeaseBook(lease_book_path(data_dir(scene.subnet.state_dir)))
    slowed: list[Holding] = []
    asleep_since: float | None = None

    def turn() -> None:
        nonlocal asleep_since
        now = time.monotonic()
        if asleep_since is not None:
            if now - asleep_since > _ASLEEP_S:
                send(scene.pids(WORKER), signal.SIGCONT)
                asleep_since = None
            return
        # The lease tells one unit from the next; it is written before the worker begins, so the stop waits for that.
        held, pids = leases.holdings(), scene.pids(WORKER)
        if held and held != slowed and any(map(_computes, pids)):
            send(pids, signal.SIGSTOP)
            slowed[:], asleep_since = held, now

    await scene.progress(lambda progress: any(each.frozen for each in progress.forecasts))
    try:
        async with repeated(turn, 0.005):
            yield
    finally:
        send(scene.pids(WORKER), signal.SIGCONT)
        leases.close()


def _computes(pid: int) -> bool:
    """Return whether a process has something to compute now; an idle worker waits."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_RUNNING
    except psutil.Error:
        return False


@asynccontextmanager
async def dead_validator(scene: Ground) -> AsyncIterator[None]:
    """Kill the whole validator, and start it again afterwards."""
    validator = scene.subnet.validator
    assert validator is not None
    assert validator.pid is not None
    os.kill(validator.pid, signal.SIGKILL)
    try:
        yield
    finally:
        scene.subnet.start_validator()


FAULTS = (
    Fault(
        name="killed_workers",
        alerts=("ProcessRestarting", "ProcessHighRestarts"),
        cause=killed_workers,
        branches=[runbooks.SIGNAL_DEATHS],
    ),
    Fault(
        name="killed_signer",
        alerts=("CrashLoop", "ProcessDown"),
        cause=killed_signer,
        branches=[runbooks.SIGNAL_DEATHS],
    ),
    Fault(
        name="choppy_engine",
        alerts=("EventLoopLag", "CriticalEventLoopLag"),
        cause=choppy_engine,
        branches=[shared.FROZEN, pool.LATE],
    ),
    Fault(name="few_files", alerts=("OpenFilesHigh",), cause=few_files, branches=[runbooks.LOW_LIMIT]),
    Fault(
        name="big_query",
        alerts=("HighMemoryUsage", "CriticalMemoryUsage"),
        cause=big_query,
        branches=[runbooks.BIG_DATABASE],
        seconds=90,
    ),
    Fault(name="dead_validator", alerts=("MetricsAbsent",), cause=dead_validator, branches=[shared.STOPPED]),
    Fault(
        name="stopped_workers",
        alerts=("PoolSeatsMissing",),
        cause=stopped_workers,
        branches=[shared.FROZEN],
        seconds=90,
    ),
)
SLOW_WORKER = Fault(
    name="slow_worker",
    alerts=("SlowComputeJobs",),
    cause=slow_worker,
    branches=[shared.FROZEN],
    seconds=480,
)
CROWDED_ENDPOINT = Fault(
    name="crowded_endpoint",
    alerts=("HighCPUUsage", "CriticalCPUUsage"),
    cause=crowded_endpoint,
    branches=[shared.ENGINE_BUSY],
    seconds=360,
)
