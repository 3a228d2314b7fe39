"""Imports the handlers in the fork server, so that every compute worker starts with them in memory."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

import msgspec

from gaia.validator.app import child
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.meeting.stack_dumps import offer_stacks
from gaia.validator.utils.entry_points import COMPUTE_WORKER, HANDLERS
from gaia.validator.utils.logs.files import LogFiles
from gaia.validator.utils.machine.parent_death import die_with_parent

LIBRARIES = ("structlog", "numpy", "numba", "numcodecs", "xarray", "zarr", "eccodes")
PARENT_VARIABLE = "FORK_SERVER_PARENT_PID"
LOGS_VARIABLE = "FORK_SERVER_LOGS"
"""Variable with the fork server's log files, as JSON; missing: there are none."""
SIGN_VARIABLE = "FORK_SERVER_SIGN"
"""Variable that names the file in which the fork server writes its pid once it has loaded everything."""

# The fork server must not have threads when it forks; workers provide the parallelism.
SINGLE_THREADED = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
    # Otherwise each thread of a library would keep its own memory. The trim threshold stays
    # malloc's, because with a fixed one every large array is mapped again.
    "MALLOC_ARENA_MAX": "2",
}


def warm_up() -> None:
    """Import the handlers and their libraries, compile their functions, and run them once.

    A failed import is ignored here, because the fork server would swallow it. The worker that
    needs the module reports it.
    """
    os.environ.update(SINGLE_THREADED)
    for name in LIBRARIES:
        _import_if_there(name)
    _import_if_there(COMPUTE_WORKER.partition(":")[0])
    load_handlers(HANDLERS)


def begin_logging() -> None:
    """Log warnings of this process, the fork server, and to the files that the environment names."""
    logs = os.environ.get(LOGS_VARIABLE)
    files = msgspec.json.decode(logs, type=LogFiles) if logs else None
    configure_logging("WARNING", "json", files, role="fork_server")


def load_handlers(module: str) -> None:
    """Import the modules in `HANDLERS` of `module`, and run its `warm_up`, if they exist."""
    if not _import_if_there(module):
        return
    handlers = import_module(module)
    for target in getattr(handlers, "HANDLERS", {}).values():
        _import_if_there(target.partition(":")[0])
    try:
        getattr(handlers, "warm_up", int)()
    except Exception:  # noqa: BLE001 - the unit that needs it reports it; a dead fork server would report nothing
        return


def environment(data_dir: Path) -> dict[str, str]:
    """Return the environment variables that children need, however they are started."""
    package = Path(__file__).resolve().parents[3]
    if os.access(package, os.W_OK) or "NUMBA_CACHE_DIR" in os.environ:
        return SINGLE_THREADED
    # Compiled code is cached beside its source, if that folder is writable.
    return SINGLE_THREADED | {"NUMBA_CACHE_DIR": str(data_dir / "compiled")}


def _import_if_there(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True


def _parent_of_fork_server() -> int | None:
    """Return the pid that owns this fork server; None in any other process that imports this module."""
    is_told_to_load_us = any(
        "multiprocessing.forkserver" in argument and __name__ in argument for argument in sys.orig_argv
    )
    parent = os.environ.get(PARENT_VARIABLE)
    return int(parent) if is_told_to_load_us and parent else None


if parent_pid := _parent_of_fork_server():
    # The owner may be dead already. A worker that it requested would then keep this process alive.
    die_with_parent(parent_pid)
    assert os.getpid() == child.LOADED_BY, (
        "the start of every worker takes the process that loaded it for its parent"
    )
    begin_logging()
    warm_up()
    if sign := os.environ.get(SIGN_VARIABLE):
        offer_stacks(Path(sign).parent)
        Path(sign).write_text(str(os.getpid()))
