"""The IO-Engine ends although a job ignores everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from gaia.validator.utils.machine.event_loop import end_despite
from tests.support.patience import patience
from tests.support.repository import ROOT

PROGRAM = """
import asyncio
from gaia.validator.utils.machine.event_loop import end_despite
from gaia.validator.app.logging_config import configure_logging

async def ignore():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue

async def main():
    stubborn = asyncio.create_task(ignore())
    await asyncio.sleep(0)
    end_despite(["stubborn"])

configure_logging("INFO", "json", role="io_engine")
asyncio.run(main())
"""


def test_engine_does_not_wait_for_a_job_that_ignores_its_cancellation() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=patience(30.0),
    )

    line = json.loads(done.stderr.splitlines()[-1])
    assert done.returncode == 0
    assert (line["level"], line["event"], line["jobs"]) == ("warning", "jobs_left_behind", ["stubborn"])


def test_engine_without_such_a_job_ends_as_any_program() -> None:
    end_despite([])
