"""Writes the locks in requirements/ from pyproject.toml: `.venv/bin/python scripts/generate/locks.py`.

A locked version stays, unless pyproject.toml excludes it; --upgrade takes the newest version of everything.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "requirements"
OLDEST_PYTHON = "3.11"
FIRST = "runtime"
"""Lock that is made first; the others share its environment, so their versions must agree with it."""
LOCKS: dict[str, tuple[str, ...]] = {
    FIRST: ("pyproject.toml",),
    "dask": ("pyproject.toml", "--extra", "dask"),
    "dev": ("--group", "pyproject.toml:dev"),
    "bench": ("--group", "pyproject.toml:bench"),
    "load": ("--group", "pyproject.toml:load"),
    "build": ("--group", "pyproject.toml:build"),
    "installer": ("--group", "pyproject.toml:installer"),
}
"""Lock -> parts of pyproject.toml that it holds, with their dependencies."""


def main(arguments: Sequence[str]) -> None:
    """Write every lock, for all platforms and Pythons that pyproject.toml allows."""
    parser = argparse.ArgumentParser(prog="locks.py", description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that are allowed")
    upgrade = ("--upgrade",) if parser.parse_args(arguments).upgrade else ()
    for lock in LOCKS:
        done = subprocess.run([*command(lock), *upgrade], cwd=ROOT, check=False)
        if done.returncode:
            sys.exit(f"{FOLDER}/{lock}.lock could not be made; see above.")
        if "://" in (ROOT / FOLDER / f"{lock}.lock").read_text():
            _refuse_address(lock)


def command(lock: str) -> list[str]:
    """Return the command that writes one lock."""
    file = f"{FOLDER}/{lock}.lock"
    constraints = () if lock == FIRST else ("--constraints", f"{FOLDER}/{FIRST}.lock")
    return [
        str(Path(sys.executable).with_name("uv")),
        *("pip", "compile", "--quiet", *LOCKS[lock], *constraints),
        *("--universal", "--python-version", OLDEST_PYTHON, "--generate-hashes"),
        *("--custom-compile-command", "python scripts/generate/locks.py", "--output-file", file),
    ]


def _refuse_address(lock: str) -> NoReturn:
    sys.exit(
        f"{FOLDER}/{lock}.lock names an address, so it would install from nowhere else; mend pyproject.toml."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
