"""Code that runs on the machines of a cluster: it runs one unit, which a watchdog ends if necessary."""

from __future__ import annotations

import faulthandler
import hashlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from gaia.validator.app.compute_worker import attempt_unit, encode_result
from gaia.validator.utils.errors import DeadlineExceeded
from gaia.validator.utils.ipc_types import Failure, FrameReader, ResultUnit, WorkUnit

GRACE_S = 1.0
"""Seconds after the deadline at which the watchdog ends the process; the unit has failed by then."""

_GAIA = Path(__file__).resolve().parents[3]
_COMPUTE_CODE = ("tasks", "validator/utils")
_LIBRARIES = ("numpy", "numcodecs")
# Watchdog and memory limit belong to the process, so several threads must take turns.
_one_at_a_time = threading.Lock()


def execute_unit(frame: bytes, handlers: str, memory_mib: int) -> bytes:
    """Run the `WorkUnit` in `frame`; return the frame of its `ResultUnit`.

    Soon after the deadline the watchdog ends native code that does not return, together with this
    process. It needs neither the interpreter nor a second process.

    Parameters
    ----------
    handlers
        Module whose ``resolve(name)`` returns the handler of that name.
    memory_mib
        MiB beyond which a unit gets a `MemoryError`; mapped files do not count; 0: no limit.
    """
    frames: FrameReader[WorkUnit] = FrameReader(WorkUnit)
    (unit,) = frames.feed(frame)
    with _one_at_a_time:
        left_s = unit.deadline_at - time.time()
        if left_s <= 0:
            failure = Failure.of(DeadlineExceeded(f"{unit.handler} reached its worker after its deadline"))
            result = ResultUnit(job_id=unit.job_id, attempt=unit.attempt, failure=failure)
        else:
            with _ended_after(left_s + GRACE_S), _limited_to(memory_mib):
                result = attempt_unit(unit, handlers)
    return encode_result(result)[1]


def describe_site(probe: str) -> list[str]:
    """Return the values that a worker must share with the validator.

    Parameters
    ----------
    probe
        A file in the validator's data folder.

    Returns
    -------
    list of str
        The content of the probe, or "" if it cannot be read. Then the digest of the compute code,
        and the versions of the libraries on which the bits of scores depend.
    """
    try:
        content = Path(probe).read_text()
    except OSError:
        content = ""
    return [content, _code_digest(), *(f"{name} {metadata.version(name)}" for name in _LIBRARIES)]


def is_guarding(dask_worker: Any) -> bool:
    """Return whether this nanny would restart its worker; while it starts the worker, it would not."""
    status: str = dask_worker.status.name
    return status == "running"


def end_worker(dask_worker: Any) -> bool:
    """Kill the worker of this nanny; return False if it has none at present."""
    pid: int | None = dask_worker.pid
    if pid is None:
        return False
    os.kill(pid, signal.SIGKILL)
    return True


def _code_digest() -> str:
    digest = hashlib.sha256()
    for folder in _COMPUTE_CODE:
        for path in sorted((_GAIA / folder).rglob("*.py")):
            digest.update(path.relative_to(_GAIA).as_posix().encode())
            digest.update(path.read_bytes())
    return f"code {digest.hexdigest()[:12]}"


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def _limited_to(memory_mib: int) -> Iterator[None]:
    if not memory_mib:
        yield
        return
    data_pages = int(Path("/proc/self/statm").read_text().split()[5])
    limit = data_pages * os.sysconf("SC_PAGESIZE") + memory_mib * 2**20
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(
        resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
