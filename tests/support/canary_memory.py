"""Looks for a key in the memory of living processes, and in a dump of the database."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from gaia.validator.app.children.embedded_postgres import find_binaries

_STEP = 4 << 20


def forms_of_key(secrets: Mapping[str, str]) -> dict[str, bytes]:
    """Return name and form -> bytes of each secret that is hex: the raw bytes, and the text."""
    found = {}
    for name, secret in secrets.items():
        found[f"{name} in hex"] = secret.encode()
        found[f"{name} raw"] = bytes.fromhex(secret)
    return found


def held_in_memory(pid: int, wanted: Mapping[str, bytes]) -> set[str] | None:
    """Return which of `wanted` the writable memory of a process holds; None: nobody here may read it, or it is gone."""
    found: set[str] = set()
    try:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for first, last in list(_writable(pid)):
                found |= _within(memory.fileno(), first, last, wanted)
    except (PermissionError, ProcessLookupError, FileNotFoundError):
        return None
    return found


def _within(memory: int, first: int, last: int, wanted: Mapping[str, bytes]) -> set[str]:
    found: set[str] = set()
    overlap = max(map(len, wanted.values())) - 1
    at = first
    while at < last:
        try:
            part = os.pread(memory, min(_STEP + overlap, last - at), at)
        except OSError:
            break  # a region that has gone, or one that no process can read
        found |= {name for name, content in wanted.items() if content in part}
        at += _STEP
    return found


def _writable(pid: int) -> Iterator[tuple[int, int]]:
    """Yield the (first, last) addresses of the regions that the process can write."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        addresses, rights, *_ = line.split()
        if rights.startswith("rw"):
            first, last = (int(each, 16) for each in addresses.split("-"))
            yield first, last


def dump(dsn: str) -> bytes:
    """Return all that the database holds, as pg_dump writes it."""
    program = find_binaries() / "pg_dump"
    return subprocess.run([program, "--dbname", dsn], capture_output=True, check=True).stdout
