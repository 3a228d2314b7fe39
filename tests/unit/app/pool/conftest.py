"""The ledger and the pool of a test."""

from __future__ import annotations

import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gaia.validator.app.meeting.rendezvous import short_directory
from gaia.validator.app.pool.job_ledger import JobLedger
from tests.support.pool_meeting import Meeting, a_pool


@pytest.fixture
def ledger() -> Iterator[JobLedger]:
    ledger = JobLedger(crash_limit=3, silence_limit_s=50.0, keep_s=60.0)
    yield ledger
    ledger.check()


@pytest.fixture
async def meeting(tmp_path: Path) -> AsyncIterator[Meeting]:
    folder = short_directory(tmp_path / "run", "pool.sock")
    folder.mkdir(exist_ok=True)
    path = folder / "pool.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    meeting = Meeting(await a_pool(path, listener), path, listener)
    yield meeting
    await meeting.pool.close()
    listener.close()
    shutil.rmtree(folder)
