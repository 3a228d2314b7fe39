"""Measures the cost of confining a compute worker: python -m gaia.validator.app.sandbox.measure."""

from __future__ import annotations

import os
import statistics
import struct
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from gaia.validator.app.children import preload
from gaia.validator.app.sandbox.confine import Level, confine, grant_for
from gaia.validator.app.sandbox.dial import EngineDial
from gaia.validator.utils.entry_points import HANDLERS

if TYPE_CHECKING:
    from gaia.validator.utils.ipc_types import SandboxMode

WORKERS = 50
MODES: tuple[SandboxMode, ...] = ("required", "required, without Landlock")
_RESULT = struct.Struct("dd")


def main() -> int:
    """Print the median and the maximum over many workers, for each level."""
    preload.warm_up()
    for mode in MODES:
        wall_ms, cpu_ms = zip(*measure(mode, WORKERS), strict=True)
        level = Level.FULL if mode == "required" else Level.BROKERED
        sys.stdout.write(
            f"{level.name.lower()}: {statistics.median(wall_ms):.2f} ms median, {max(wall_ms):.2f} ms worst, "
            f"{statistics.median(cpu_ms):.2f} ms of processor time, {len(wall_ms)} workers\n"
        )
    return 0


def measure(mode: SandboxMode, workers: int) -> list[tuple[float, float]]:
    """Return the milliseconds of wall time and of CPU time that each of `workers` workers needed.

    They are forked like those of the fork server.
    """
    with tempfile.TemporaryDirectory() as data_dir:
        return [_locked_in(mode, data_dir) for _ in range(workers)]


def _locked_in(mode: SandboxMode, data_dir: str) -> tuple[float, float]:
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            wall, cpu = time.perf_counter(), time.process_time()
            confine(mode, grant_for(data_dir, HANDLERS), EngineDial(f"{data_dir}/pool.sock"))
            needed = (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000
            os.write(sender, _RESULT.pack(*needed))
        finally:
            os._exit(0)
    os.close(sender)
    try:
        os.waitpid(pid, 0)
        wall_ms, cpu_ms = _RESULT.unpack(os.read(receiver, _RESULT.size))
    finally:
        os.close(receiver)
    return wall_ms, cpu_ms


if __name__ == "__main__":
    sys.exit(main())
