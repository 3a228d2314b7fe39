"""Checks that this interpreter has what locks ask for: python scripts/supplies/requirements_met.py LOCK..."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+))?")
REMEDY = "delete .venv, and start again"


def main(locks: Sequence[str]) -> int:
    """Print each package that is missing or has another version; return 1 if there is one."""
    lacking = [problem for lock in locks for problem in problems_of(Path(lock).read_text())]
    for problem in lacking:
        print(f"{problem}; {REMEDY}.", file=sys.stderr)
    return 1 if lacking else 0


def problems_of(lock: str) -> Iterator[str]:
    """Yield a sentence without full stop for each pin of a lock that this interpreter does not meet.

    >>> list(problems_of("no-such-package==1.0 ; python_version >= '3'"))
    ['no-such-package 1.0 is not installed']
    """
    for line in lock.splitlines():
        pin = _PIN.match(line)
        if pin is None or not _applies(pin[3]):
            continue
        name, wanted = pin[1], pin[2]
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield f"{name} {wanted} is not installed"
            continue
        if found != wanted:
            yield f"{name} is {found}, and the lock wants {wanted}"


def _applies(marker: str | None) -> bool:
    if not marker:
        return True
    from packaging.markers import Marker

    return Marker(marker.strip()).evaluate()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
