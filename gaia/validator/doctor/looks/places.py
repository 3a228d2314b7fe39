"""Looks at files and folders that variables name, and at the user of this process."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.validator.app.children.embedded_postgres import find_binaries
from gaia.validator.doctor.facts import Places
from gaia.validator.doctor.looks.files import entry_of, problem_of
from gaia.validator.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def look_at_places(environment: Mapping[str, str], env_file: Path, clock_file: Path | None) -> Places:
    """Return the state of what the environment and the settings name."""
    temporary = environment.get("TMPDIR") or _temporary_folder()
    named = environment.get("PG_BINDIR", "")
    programs, problem = _programs()
    certificates = {name: environment.get(name, "") for name in _CERTIFICATES}
    return Places(
        uid=os.geteuid(),
        env_file=entry_of(env_file),
        is_shared_by_root=_is_shared_by_root(env_file),
        has_clock_file=clock_file is not None and clock_file.is_file(),
        temporary_folder=temporary,
        temporary_problem=problem_of(Path(temporary)),
        has_temporary_folder=Path(temporary).exists(),
        has_named_programs=bool(named) and (Path(named) / "postgres").is_file(),
        programs=programs,
        programs_problem=problem,
        missing_certificates={
            name: path for name, path in certificates.items() if path and not Path(path).exists()
        },
    )


def _temporary_folder() -> str:
    """Return the folder that Python chooses; the first that it tries, if it can write in none of them."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        return "/tmp"  # noqa: S108 - it is looked at, and nothing is written there


def _is_shared_by_root(path: Path) -> bool:
    """Return whether root owns a file that our group may read; if root asks, any group but its own."""
    try:
        status = path.stat()
    except OSError:
        return False
    is_our_group = status.st_gid != 0 if os.geteuid() == 0 else status.st_gid == os.getegid()
    return status.st_uid == 0 and is_our_group and bool(status.st_mode & stat.S_IRGRP)


def _programs() -> tuple[Path | None, str]:
    try:
        return find_binaries(), ""
    except ConfigurationError as error:
        return None, error.problem
