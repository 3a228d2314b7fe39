"""Memory: what is short, what is freed, and that no busy worker is touched."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gaia.validator.core.background.memory import MemoryKeeper, relief
from gaia.validator.utils.identities import WorkerId
from gaia.validator.utils.machine.memory import (
    available_bytes,
    free_memory,
    private_bytes,
    proportional_bytes,
    resident_bytes,
)
from gaia.validator.utils.settings.background import BackgroundSettings
from tests.support.background import DatabaseAway
from tests.support.repository import ROOT

MIB = 1 << 20
BIG, SMALL, ENDED = WorkerId("0.1"), WorkerId("1.1"), WorkerId("3.1")
FACTS: dict[str, Any] = {
    "own_bytes": 200 * MIB,
    "own_limit_bytes": 1024 * MIB,
    "own_freed_to_bytes": 0,
    "available_bytes": 8192 * MIB,
    "reserve_bytes": 512 * MIB,
    "new_bytes": 10 * MIB,
    "idle": {SMALL: 10 * MIB, BIG: 700 * MIB, WorkerId("2.1"): 300 * MIB},
}


def test_nothing_is_done_while_there_is_enough() -> None:
    wanted = relief(**FACTS)

    assert (wanted.frees_own, wanted.retires) == (False, ())


def test_engine_above_its_limit_frees_its_own_and_replaces_no_worker() -> None:
    wanted = relief(**FACTS | {"own_bytes": 1025 * MIB})

    assert (wanted.frees_own, wanted.retires) == (True, ())


def test_short_machine_has_large_idle_workers_replaced_largest_first() -> None:
    wanted = relief(**FACTS | {"available_bytes": 511 * MIB})

    assert (wanted.frees_own, wanted.retires) == (True, (BIG, "2.1"))


def test_memory_that_could_not_be_freed_is_not_tried_again_before_it_has_grown() -> None:
    facts = FACTS | {"own_bytes": 1100 * MIB, "own_freed_to_bytes": 1090 * MIB}

    assert not relief(**facts).frees_own
    assert relief(**facts | {"own_bytes": 1200 * MIB}).frees_own


class Workers:
    """A pool with idle workers, which are processes of this machine."""

    def __init__(self, idle: Mapping[WorkerId, int]) -> None:
        self._idle = idle
        self.retired: list[WorkerId] = []

    def idle_workers(self) -> Mapping[WorkerId, int]:
        return self._idle

    def retire(self, worker: WorkerId) -> None:
        self.retired.append(worker)


def a_keeper(workers: Workers | None, available_mib: int, **changes: Any) -> MemoryKeeper:
    return MemoryKeeper(
        BackgroundSettings(**changes), DatabaseAway(), dict, workers, lambda: available_mib * MIB
    )


@asynccontextmanager
async def a_process(mib: int) -> AsyncIterator[int]:
    """Yield the pid of a process that holds so much memory."""
    program = f"x = bytearray({mib} << 20); print(len(x), flush=True); input()"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    await process.stdout.readline()
    yield process.pid
    await process.communicate(b"\n")


async def test_large_idle_worker_is_replaced_when_the_machine_is_short() -> None:
    async with a_process(1) as small, a_process(100) as big:
        workers = Workers({BIG: big, SMALL: small, ENDED: 2**22})
        with capture_logs() as logs:
            await a_keeper(workers, 100).aggressive_memory_cleanup()

    assert workers.retired == [BIG]
    assert [(line["event"], line["workers_retired"]) for line in logs] == [("memory_freed", [BIG])]


async def test_worker_no_larger_than_a_new_one_is_not_replaced_again_and_again() -> None:
    async with a_process(100) as new, a_process(110) as other:
        workers = Workers({BIG: new, SMALL: other, ENDED: 2**22})
        await a_keeper(workers, 100).aggressive_memory_cleanup()

    assert workers.retired == []


def test_page_that_processes_share_counts_once_in_their_sum() -> None:
    program = """
import os
from gaia.validator.utils.machine.memory import proportional_bytes, resident_bytes
held = bytearray(b"x") * (100 << 20)
gate, hold = os.pipe()
pids = [os.getpid()]
for _ in range(3):
    pid = os.fork()
    if not pid:
        os.close(hold)
        os._exit(len(os.read(gate, 1)))
    pids.append(pid)
print(sum(map(resident_bytes, pids)) >> 20, sum(map(proportional_bytes, pids)) >> 20)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert done.returncode == 0, done.stderr
    resident_mib, proportional_mib = map(int, done.stdout.split())
    assert resident_mib > 400
    assert 100 <= proportional_mib < 200


def test_engine_above_its_limit_gives_memory_back_to_the_system() -> None:
    """A process of its own holds garbage that only a collection can free."""
    program = """
import asyncio, gc
from tests.unit.core.background.test_memory import a_keeper, garbage
from gaia.validator.utils.machine.memory import resident_bytes
gc.disable()
garbage(150)
before = resident_bytes()
asyncio.run(a_keeper(None, 8192, engine_memory_mib=64).aggressive_memory_cleanup())
print((before - resident_bytes()) >> 20)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) > 100


def garbage(mib: int) -> None:
    """Leave garbage in a circle behind, in pieces too small to be mapped one by one."""
    circle: list[Any] = [bytearray(64 << 10) for _ in range(mib * 16)]
    circle.append(circle)


async def test_well_off_engine_collects_nothing() -> None:
    begun: list[str] = []

    def note(phase: str, _info: dict[str, int]) -> None:
        begun.append(phase)

    gc.collect()
    gc.disable()
    gc.callbacks.append(note)
    try:
        await a_keeper(Workers({}), 8192, engine_memory_mib=1 << 20).aggressive_memory_cleanup()
    finally:
        gc.callbacks.remove(note)
        gc.enable()

    assert begun == []


def test_memory_of_this_process_is_measured_and_that_of_none_is_zero() -> None:
    assert resident_bytes() > private_bytes() > MIB
    assert resident_bytes(os.getpid()) > MIB
    assert (resident_bytes(2**22), private_bytes(2**22), proportional_bytes(2**22)) == (0, 0, 0)
    assert proportional_bytes(os.getpid()) > MIB
    assert free_memory() >= 0


@pytest.mark.parametrize(
    ("files", "expected_mib"),
    [
        ({}, 1000),
        ({"memory.max": "max", "memory.current": "5", "memory.stat": "inactive_file 1"}, 1000),
        (
            {
                "memory.max": str(800 * MIB),
                "memory.current": str(700 * MIB),
                "memory.stat": f"anon 1\ninactive_file {50 * MIB}",
            },
            150,
        ),
        ({"memory.max": str(9000 * MIB), "memory.current": "0", "memory.stat": ""}, 1000),
        (
            {
                "memory.max": str(100 * MIB),
                "memory.current": str(200 * MIB),
                "memory.stat": "",
            },
            0,
        ),
    ],
)
def test_container_that_is_smaller_than_the_machine_decides(
    tmp_path: Path, files: dict[str, str], expected_mib: int
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 9 kB\nMemAvailable:   {1000 * 1024} kB\n")
    for name, content in files.items():
        (tmp_path / name).write_text(content + "\n")

    assert available_bytes(meminfo, tmp_path) == expected_mib * MIB
