"""Measures what it costs a compute worker to be locked in: python -m gaia.validator.app.sandbox_measure."""

from __future__ import annotations

import os
import statistics
import struct
import sys
import tempfile
import time

from gaia.validator.app import preload
from gaia.validator.app.engine_dial import EngineDial
from gaia.validator.app.sandbox import Level, Mode, confine, grant_for

WORKERS = 50
MODES: tuple[Mode, ...] = ("required", "required, without Landlock")
_RESULT = struct.Struct("d")


def main() -> int:
    """Print the median and the worst of many workers, for each way of being locked in."""
    preload.warm_up()
    for mode in MODES:
        milliseconds = measure(mode, WORKERS)
        level = Level.FULL if mode == "required" else Level.BROKERED
        sys.stdout.write(
            f"{level.name.lower()}: {statistics.median(milliseconds):.2f} ms median, "
            f"{max(milliseconds):.2f} ms worst of {len(milliseconds)} workers\n"
        )
    return 0


def measure(mode: Mode, workers: int) -> list[float]:
    """Return how many milliseconds it took each of so many workers, forked like the fork server's."""
    with tempfile.TemporaryDirectory() as data_dir:
        return [_locked_in(mode, data_dir) for _ in range(workers)]


def _locked_in(mode: Mode, data_dir: str) -> float:
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            began = time.perf_counter()
            confine(mode, grant_for(data_dir, preload.HANDLERS), EngineDial(f"{data_dir}/pool.sock"))
            os.write(sender, _RESULT.pack((time.perf_counter() - began) * 1000))
        finally:
            os._exit(0)
    os.close(sender)
    try:
        os.waitpid(pid, 0)
        (milliseconds,) = _RESULT.unpack(os.read(receiver, _RESULT.size))
    finally:
        os.close(receiver)
    return float(milliseconds)


if __name__ == "__main__":
    sys.exit(main())
