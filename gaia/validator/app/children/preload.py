"""Imported once by the fork server, so that every compute worker starts with it in memory."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

from gaia.validator.app.child import die_with_parent
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.utils.entry_points import COMPUTE_WORKER, HANDLERS

LIBRARIES = ("structlog", "numpy", "numba", "numcodecs", "xarray", "zarr", "eccodes")
PARENT_VARIABLE = "FORK_SERVER_PARENT_PID"
SIGN_VARIABLE = "FORK_SERVER_SIGN"
"""Names the file in which the fork server writes its pid once it has loaded everything."""

# Threads must not exist when the fork server forks, and the workers are our parallelism.
SINGLE_THREADED = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
    # Threads of libraries would otherwise each keep memory of their own. The threshold of
    # trimming stays malloc's, for with a fixed one every large array is mapped anew.
    "MALLOC_ARENA_MAX": "2",
}


def warm_up() -> None:
    """Import what handlers import, compile what they compile, and run it once.

    What is missing is left to fail by name in the worker that needs it: the
    fork server itself would only swallow the error.
    """
    os.environ.update(SINGLE_THREADED)
    for name in LIBRARIES:
        _import_if_there(name)
    _import_if_there(COMPUTE_WORKER.partition(":")[0])
    load_handlers(HANDLERS)


def load_handlers(module: str) -> None:
    """Import what the registry `HANDLERS` of `module` names, and run its `warm_up`, where it has them."""
    if not _import_if_there(module):
        return
    handlers = import_module(module)
    for target in getattr(handlers, "HANDLERS", {}).values():
        _import_if_there(target.partition(":")[0])
    try:
        getattr(handlers, "warm_up", int)()
    except Exception:  # noqa: BLE001 - named by the unit that meets it; a fork server that dies of it names nothing
        return


def environment(data_dir: Path) -> dict[str, str]:
    """Return what children must find in their environment, whatever starts them."""
    package = Path(__file__).resolve().parents[3]
    if os.access(package, os.W_OK) or "NUMBA_CACHE_DIR" in os.environ:
        return SINGLE_THREADED
    # Compiled code is kept beside its source, if that folder is ours to write.
    return SINGLE_THREADED | {"NUMBA_CACHE_DIR": str(data_dir / "compiled")}


def _import_if_there(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True


def _parent_of_fork_server() -> int | None:
    """Return whose fork server we are; None: we are another child, which may import this module too."""
    is_told_to_load_us = any(
        "multiprocessing.forkserver" in argument and __name__ in argument for argument in sys.orig_argv
    )
    parent = os.environ.get(PARENT_VARIABLE)
    return int(parent) if is_told_to_load_us and parent else None


if parent_pid := _parent_of_fork_server():
    # Who asked may be dead by now: a worker that it asked for would keep us, and we the worker.
    die_with_parent(parent_pid)
    configure_logging("WARNING", "json", role="fork_server")
    warm_up()
    if sign := os.environ.get(SIGN_VARIABLE):
        Path(sign).write_text(str(os.getpid()))
