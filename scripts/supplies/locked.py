"""Reads what requirements/runtime.lock pins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
RUNTIME_LOCK: Final = ROOT / "requirements" / "runtime.lock"
PROJECT: Final = "gaia-validator"

_PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;]+)(?:\s*;\s*(?P<marker>.*?))?\s*\\?$"
)
_HASH = re.compile(r"^\s+--hash=sha256:(?P<sha256>[0-9a-f]{64})")
_VIA = re.compile(r"^\s+#\s+(?:via\s+)?(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?(?: \(.*\))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """One pinned version of one package."""

    name: str
    version: str
    marker: str
    """Condition on Python or platform; "": none."""
    sha256: tuple[str, ...]
    """Digests of the files that may be installed."""
    via: tuple[str, ...]
    """Packages that need it; `PROJECT` where it is a direct dependency."""


def locked_packages(text: str) -> list[Locked]:
    """Return the pins of a lock that uv wrote, in its order.

    Raises
    ------
    ValueError
        If a line has a form that uv does not write.
    """
    found: list[tuple[re.Match[str], list[str], list[str]]] = []
    for line in text.splitlines():
        if pin := _PIN.match(line):
            found.append((pin, [], []))
        elif line and not line.startswith("#"):
            if not found or not line[0].isspace():
                raise ValueError(f"the lock has a line of another form: {line}")
            _, hashes, via = found[-1]
            if digest := _HASH.match(line):
                hashes.append(digest["sha256"])
            elif (needed_by := _VIA.match(line)) and needed_by["name"] != "via":
                via.append(needed_by["name"])
    return [
        Locked(
            name=pin["name"],
            version=pin["version"],
            marker=pin["marker"] or "",
            sha256=tuple(hashes),
            via=tuple(via),
        )
        for pin, hashes, via in found
    ]


def runtime() -> Iterator[Locked]:
    """Yield what an installed validator consists of, beside its own code."""
    yield from locked_packages(RUNTIME_LOCK.read_text())
