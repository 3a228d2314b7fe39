"""The limits of a worker: an alarm that ends native code, and the memory that a unit may take."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gaia.validator.app.worker_guard import WorkerGuard
from tests.support.patience import patience


def guarded(program: str, stack: Path) -> subprocess.CompletedProcess[str]:
    """Run `program` in a process with a guard that is called `guard`."""
    prelude = (
        "import ctypes, sys, time\n"
        "from gaia.validator.app.worker_guard import WorkerGuard\n"
        f"guard = WorkerGuard(256, {str(stack)!r})\n"
    )
    return subprocess.run([sys.executable, "-c", prelude + program], capture_output=True, text=True)


def test_deadline_ends_native_code_that_holds_the_interpreter_and_leaves_its_stack(tmp_path: Path) -> None:
    # PyDLL keeps the interpreter's lock: no Python thread could run.
    program = "guard.arm(time.time() + 0.3)\nctypes.PyDLL(None).sleep(60)\n"

    began_at = time.monotonic()
    done = guarded(program, tmp_path / "stack")

    assert done.returncode == -signal.SIGALRM
    assert time.monotonic() - began_at < patience(10.0)
    assert "most recent call first" in (tmp_path / "stack").read_text()


def test_segmentation_fault_leaves_its_stack(tmp_path: Path) -> None:
    done = guarded("ctypes.string_at(0)\n", tmp_path / "stack")

    assert done.returncode == -signal.SIGSEGV
    assert "in string_at" in (tmp_path / "stack").read_text()


def test_unit_that_ends_in_time_is_left_alone(tmp_path: Path) -> None:
    program = "guard.arm(time.time() + 0.2)\nguard.disarm()\ntime.sleep(0.4)\nprint('well')\n"

    assert guarded(program, tmp_path / "stack").stdout == "well\n"


def test_far_alarm_of_a_unit_that_ended_stays_until_the_worker_rests(tmp_path: Path) -> None:
    program = (
        "import signal\n"
        "left = lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0\n"
        "guard.arm(time.time() + 60)\n"
        "guard.disarm()\n"
        "print(left(), guard.is_armed)\n"
        "guard.rest()\n"
        "print(left(), guard.is_armed)\n"
        "guard.arm(time.time() + 60)\n"
        "guard.arm(time.time() + 1e9)\n"
        "print(left(), guard.is_armed)\n"
    )

    assert guarded(program, tmp_path / "stack").stdout.split() == ["True"] * 2 + ["False"] * 4


def test_memory_kept_by_earlier_units_does_not_count_for_the_next(tmp_path: Path) -> None:
    program = (
        "kept = []\n"
        "for _ in range(4):\n"
        "    kept.append(bytearray(200 * 2**20))\n"
        "    guard.tidy(1.0)\n"
        "try:\n"
        "    bytearray(300 * 2**20)\n"
        "except MemoryError:\n"
        "    print('refused')\n"
    )

    assert guarded(program, tmp_path / "stack").stdout == "refused\n"


def test_memory_beyond_the_limit_is_refused() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    WorkerGuard(64)
    try:
        with pytest.raises(MemoryError):
            bytearray(256 * 2**20)
        assert bytearray(8 * 2**20)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
