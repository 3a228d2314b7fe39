"""The jobs that every pool is given; plain functions, so that each pool can run them as it likes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

Payload = dict[str, Any]

READS = ("arrays",)
"""Folders of the data folder that a compute worker's sandbox lets these jobs read."""
WRITES = ("logs",)


def resolve(name: str) -> Callable[[Payload], Payload]:
    """Return the job called ``bench.<name>``, as a compute worker asks for it."""
    handler: Callable[[Payload], Payload] = globals()[name.removeprefix("bench.")]
    return handler


def echo(payload: Payload) -> Payload:
    """Answer the payload."""
    return payload


def nothing(_payload: Payload) -> Payload:
    """Answer with nothing."""
    return {}


def sum_of_file(payload: Payload) -> Payload:
    """Add up the array in the file `path`, mapped rather than read."""
    import numpy as np

    return {"sum": float(np.load(payload["path"], mmap_mode="r").sum(dtype=np.float32))}


def sum_of_array(array: Any) -> float:
    """Add up an array that came with the call."""
    return float(array.sum(dtype=array.dtype))


def libraries(_payload: Payload) -> Payload:
    """Load what a scoring job loads, and tell who did."""
    import numpy as np
    import xarray
    import zarr

    return {
        "pid": os.getpid(),
        "numpy": np.__version__,
        "xarray": xarray.__version__,
        "zarr": zarr.__version__,
    }


def busy(payload: Payload) -> Payload:
    """Say in the file `log` that `job` has started, then keep the processor busy for `seconds`."""
    line = f"{payload['job']} {os.getpid()} {time.monotonic()}\n"
    log = os.open(payload["log"], os.O_WRONLY | os.O_APPEND)
    os.write(log, line.encode())
    os.close(log)
    end = time.perf_counter() + payload["seconds"]
    while time.perf_counter() < end:
        pass
    return {"job": payload["job"]}
