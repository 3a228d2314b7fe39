"""The event loop of the IO-Engine beside threads that compute."""

from __future__ import annotations

import subprocess
import sys

from tests.support.patience import patience

PROGRAM = """
import gc, sys
from gaia.validator.utils.machine.event_loop import favour_loop

before = sys.getswitchinterval()
favour_loop()
print(sys.getswitchinterval() / before, gc.get_freeze_count())
"""


def test_thread_that_computes_gives_way_to_the_loop_sooner_than_usual() -> None:
    """The interpreter takes a thread off after this interval; `bench.py observation` measures what that gains."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=patience(60)
    )

    part_of_usual, frozen = map(float, done.stdout.split())
    assert part_of_usual <= 0.1
    assert frozen > 1000  # what is loaded is not looked at by the collector
