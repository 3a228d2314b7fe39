"""Handlers that tell, by files, what was run and when; every place that runs units must cope with them."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from gaia.validator.utils import errors

READS = ("trial",)
WRITES = ("trial",)
"""Folders below the data folder: where a test and its units leave each other files."""

Payload = dict[str, Any]
RETRY_AT = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)


def resolve(name: str) -> Callable[[Payload], Payload]:
    """Return ``test.<name>`` of this module, or else the weather's handler of that name."""
    if name.startswith("test."):
        handler: Callable[[Payload], Payload] = globals()[name.removeprefix("test.")]
        return handler
    weather = import_module("gaia.tasks.defined_tasks.weather.validator.handlers")
    found: Callable[[Payload], Payload] = weather.resolve(name)
    return found


def echo(payload: Payload) -> Payload:
    """Answer the payload, and who we are."""
    return {**payload, "pid": os.getpid()}


def note(payload: Payload) -> Payload:
    """Add the line `line` to the file `book`, as a unit that must not run twice would be found out."""
    with open(payload["book"], "a") as book:
        book.write(payload["line"] + "\n")
    return {"line": payload["line"]}


def gated(payload: Payload) -> Payload:
    """Add our pid to the file `started`, and return once the file `gate` exists."""
    with open(payload["started"], "a") as started:
        started.write(f"{os.getpid()}\n")
    while not Path(payload["gate"]).exists():
        time.sleep(0.005)
    return {"pid": os.getpid()}


def die_until(payload: Payload) -> Payload:
    """Die of a segmentation fault until the file `book` has more than `times` lines."""
    with open(payload["book"], "a") as book:
        book.write("started\n")
    if len(Path(payload["book"]).read_text().splitlines()) <= payload["times"]:
        ctypes.string_at(0)
    return {}


def segfault(payload: Payload) -> Payload:
    """Die as native code does that reads where nothing is."""
    ctypes.string_at(0)
    return {}


def hang_natively(payload: Payload) -> Payload:
    """Hold the interpreter in native code for an hour, after adding our pid to the file `started`."""
    with open(payload["started"], "a") as started:
        started.write(f"{os.getpid()}\n")
    ctypes.PyDLL(None).sleep(3600)
    return {}


def allocate(payload: Payload) -> Payload:
    """Allocate `mib`."""
    return {"bytes": len(bytearray(payload["mib"] * 2**20))}


def fail(payload: Payload) -> Payload:
    """Raise the error called `kind`, one of ours or a builtin."""
    kind = payload["kind"]
    if kind == "NotYetAvailable":
        raise errors.NotYetAvailable("ERA5 of tomorrow", RETRY_AT)
    if kind == "ConfigurationError":
        raise errors.ConfigurationError(
            "GAIA_NETUID", "is odd", "make it even", errors.ExitCode.HOTKEY_MISSING
        )
    if kind == "ZeroDivisionError":
        raise ZeroDivisionError("by design")
    raise getattr(errors, kind)("by design")


def phone_home(payload: Payload) -> Payload:
    """Open a socket to the network, as code in a miner's bytes would."""
    socket.socket(socket.AF_INET).close()
    return {}


def unsendable(payload: Payload) -> Payload:
    """Return what no message can carry."""
    return {"value": object()}
