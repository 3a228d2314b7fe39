"""Imported once by the fork server, so that every compute worker starts with it in memory."""

from __future__ import annotations

import os
from importlib import import_module

from gaia.validator.app.child import die_with_parent

SERVER_PID = os.getpid()
LIBRARIES = ("structlog", "numpy", "numcodecs", "xarray", "zarr", "eccodes")
PARENT_VARIABLE = "FORK_SERVER_PARENT_PID"
HANDLERS = "gaia.tasks.defined_tasks.weather.validator.handlers"

# Threads must not exist when the fork server forks, and the workers are our parallelism.
SINGLE_THREADED = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
}


def warm_up() -> None:
    """Import what handlers import.

    What is missing is left to fail by name in the worker that needs it: the
    fork server itself would only swallow the error.
    """
    os.environ.update(SINGLE_THREADED)
    for name in LIBRARIES:
        _import_if_there(name)
    _import_if_there("gaia.validator.app.compute_worker")
    if _import_if_there(HANDLERS):
        registry: dict[str, str] = import_module(HANDLERS).HANDLERS
        for target in registry.values():
            _import_if_there(target.partition(":")[0])


def _import_if_there(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True


if os.environ.get(PARENT_VARIABLE) == str(os.getppid()):
    die_with_parent(os.getppid())
    warm_up()
