"""What runs on a cluster's machines, run here."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gaia.validator.app.backends.remote import describe_site, end_worker, execute_unit
from gaia.validator.utils.ipc_types import FrameReader, ResultUnit, encode_frame
from tests.support.builders import a_unit

HANDLERS = "tests.support.backend_handlers"


def executed(memory_mib: int = 0, **unit: Any) -> ResultUnit:
    reader: FrameReader[ResultUnit] = FrameReader(ResultUnit)
    (result,) = reader.feed(execute_unit(encode_frame(a_unit(**unit)), HANDLERS, memory_mib))
    return result


def test_frame_of_a_unit_becomes_the_frame_of_its_result() -> None:
    result = executed(payload={"x": 1}, attempt=2)

    assert (result.job_id, result.attempt) == ("job", 2)
    assert result.value == {"x": 1, "pid": os.getpid()}


def test_unit_that_comes_after_its_deadline_is_not_run(tmp_path: Path) -> None:
    book = tmp_path / "book"

    result = executed(
        handler="test.note", payload={"book": str(book), "line": "x"}, deadline_at=time.time() - 1.0
    )

    assert result.failure is not None
    assert result.failure.error_type == "DeadlineExceeded"
    assert not book.exists()


def test_memory_limit_holds_for_the_unit_alone() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)

    result = executed(memory_mib=64, handler="test.allocate", payload={"mib": 512})

    assert result.failure is not None
    assert result.failure.error_type == "MemoryError"
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_site_is_the_probe_the_code_and_the_libraries(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    without = describe_site(str(probe))
    probe.write_text("token")

    assert describe_site(str(probe)) == ["token", *without[1:]]
    assert without[0] == ""
    assert [entry.split()[0] for entry in without[1:]] == ["code", "numpy", "numcodecs"]


def test_nanny_kills_the_worker_it_has_and_no_other() -> None:
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    assert not end_worker(SimpleNamespace(pid=None))
    assert worker.poll() is None
    assert end_worker(SimpleNamespace(pid=worker.pid))
    assert worker.wait() == -signal.SIGKILL
