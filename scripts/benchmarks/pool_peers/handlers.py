"""The jobs of the benchmark, as plain functions that every pool can run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

Payload = dict[str, Any]

READS = ("arrays",)
"""Folders of the data folder that the sandbox lets these jobs read."""
WRITES = ("logs",)


def resolve(name: str) -> Callable[[Payload], Payload]:
    """Return the job ``bench.<name>``; compute workers call this."""
    handler: Callable[[Payload], Payload] = globals()[name.removeprefix("bench.")]
    return handler


def echo(payload: Payload) -> Payload:
    """Return the payload."""
    return payload


def nothing(_payload: Payload) -> Payload:
    """Return nothing."""
    return {}


def sum_of_file(payload: Payload) -> Payload:
    """Return the sum of the array in the mapped file `path`."""
    import numpy as np

    return {"sum": float(np.load(payload["path"], mmap_mode="r").sum(dtype=np.float32))}


def sum_of_array(array: Any) -> float:
    """Return the sum of an array in the payload."""
    return float(array.sum(dtype=array.dtype))


def libraries(_payload: Payload) -> Payload:
    """Import the libraries of a scoring job; return the pid."""
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
    """Log the start of `job` to the file `log`, then compute for `seconds`."""
    line = f"{payload['job']} {os.getpid()} {time.monotonic()}\n"
    log = os.open(payload["log"], os.O_WRONLY | os.O_APPEND)
    os.write(log, line.encode())
    os.close(log)
    end = time.perf_counter() + payload["seconds"]
    while time.perf_counter() < end:
        pass
    return {"job": payload["job"]}
