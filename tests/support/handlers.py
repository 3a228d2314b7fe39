"""Handlers with every vice a compute worker must survive; looked up as the real ones are."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gaia.validator.utils.errors import MinerFault

Payload = dict[str, Any]
HELD: list[bytearray] = []


def resolve(name: str) -> Callable[[Payload], Payload]:
    """Return the handler called ``test.<name>``."""
    handler: Callable[[Payload], Payload] = globals()[name.removeprefix("test.")]
    return handler


def echo(payload: Payload) -> Payload:
    """Answer the payload."""
    return {**payload, "pid": os.getpid()}


def spin(payload: Payload) -> Payload:
    """Keep the processor busy for `seconds`."""
    end = time.perf_counter() + payload["seconds"]
    while time.perf_counter() < end:
        pass
    return {"pid": os.getpid()}


def crash(payload: Payload) -> Payload:
    """Die of a segmentation fault."""
    ctypes.string_at(0)
    return {}


def killed(payload: Payload) -> Payload:
    """Die as the kernel's out-of-memory killer would have it."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def hang(payload: Payload) -> Payload:
    """Never return; tell the world first, by the file `started`."""
    Path(payload["started"]).write_text(str(os.getpid()))
    while True:
        time.sleep(3600)


def stop(payload: Payload) -> Payload:
    """Stop as SIGSTOP stops, within the unit, so that no test has to be quick; tell the world first."""
    Path(payload["started"]).write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
    return {"pid": os.getpid()}


def gated(payload: Payload) -> Payload:
    """Write the file `started`, and return once the file `gate` exists."""
    Path(payload["started"]).write_text(str(os.getpid()))
    while not Path(payload["gate"]).exists():
        time.sleep(0.005)
    return {"pid": os.getpid()}


def memory(payload: Payload) -> Payload:
    """Allocate and touch `mib`, and keep it if `keep` is set."""
    block = bytearray(payload["mib"] * 2**20)
    block[::4096] = b"x" * len(range(0, len(block), 4096))
    if payload.get("keep"):
        HELD.append(block)
    if payload.get("seconds"):
        time.sleep(payload["seconds"])
    return {"pid": os.getpid()}


def miner_fault(payload: Payload) -> Payload:
    """Blame the miner."""
    raise MinerFault("forecast lacks 2t")


def bug(payload: Payload) -> Payload:
    """Fail as code with a bug does."""
    raise ZeroDivisionError("by design")


def unsendable(payload: Payload) -> Payload:
    """Return what no message can carry."""
    return {"value": object()}


def modules(payload: Payload) -> Payload:
    """Tell which modules this worker has loaded."""
    return {"modules": sorted(sys.modules), "threads": len(list(Path("/proc/self/task").iterdir()))}


def native_hang(payload: Payload) -> Payload:
    """Sleep in C code that keeps the interpreter to itself; tell the world first, by the file `started`."""
    Path(payload["started"]).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(3600)
    return {}


def native_memory(payload: Payload) -> Payload:
    """Touch `mib` in C code, and die of the first address that was not to be had."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    for _ in range(payload["mib"] // 16):
        libc.memset(libc.malloc(ctypes.c_size_t(16 * 2**20)), 1, 16 * 2**20)
    return {}
