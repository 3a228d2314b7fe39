"""The event loop of the IO-Engine beside threads that compute."""

from __future__ import annotations

import subprocess
import sys

from tests.support.patience import patience

PROGRAM = """
import asyncio, sys, threading, time
from gaia.validator.app.io_loop import favour_loop

async def lags():
    found = []
    for _ in range(150):
        before = time.perf_counter()
        await asyncio.sleep(0.005)
        found.append(time.perf_counter() - before - 0.005)
    return sorted(found)

is_over = threading.Event()

def compute():
    while not is_over.is_set():
        sorted(str(number) for number in range(500))

thread = threading.Thread(target=compute)
thread.start()
usual = asyncio.run(lags())
favour_loop()
favoured = asyncio.run(lags())
is_over.set()
thread.join()
print(usual[len(usual) // 4], favoured[len(favoured) // 4])
"""


def test_loop_wakes_sooner_although_a_thread_computes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=patience(60)
    )

    usual_s, favoured_s = map(float, done.stdout.split())
    assert favoured_s < usual_s / 1.5
