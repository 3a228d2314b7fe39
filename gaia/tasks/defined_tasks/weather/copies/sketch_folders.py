"""Folders of sketches on disk, recognised by their names alone, because compute workers can write there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from gaia.tasks.defined_tasks.weather.copies.sketch_layout import EVERY_HOURS
from gaia.validator.utils.identities import RunId

log = structlog.get_logger(__name__)

_RUN: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\dZ", re.ASCII)
_LEAD: Final = re.compile(r"[1-9]\d{0,3}", re.ASCII)
_UNREADABLE: Final = (FileNotFoundError, NotADirectoryError, PermissionError)
_TOLD: Final = 5
"""Number of unrecognised names that are logged."""


class SketchFolders:
    """Finds the leads that have sketches; logs anything else once and leaves it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._strange: set[Path] = set()

    def leads(self) -> list[Path]:
        """Return the folders <run>/<lead in hours>, sorted.

        Raises
        ------
        OSError
            If the disk fails; unreadable entries raise nothing.
        """
        strange: set[Path] = set()
        leads = [
            lead
            for run in self._named(self._root, _is_run, strange)
            for lead in self._named(run, _is_lead, strange)
        ]
        if strange - self._strange:
            names = sorted(str(path.relative_to(self._root)) for path in strange - self._strange)
            log.error("sketch_paths_unknown", count=len(names), paths=names[:_TOLD])
        self._strange |= strange
        return leads

    def remove_empty(self, open_runs: set[str]) -> None:
        """Remove the folders of closed runs that contain no leads."""
        for run in self._named(self._root, _is_run, set()):
            if run.name not in open_runs and not any(run.iterdir()):
                run.rmdir()

    def _named(self, folder: Path, is_name: Callable[[str], bool], strange: set[Path]) -> list[Path]:
        try:
            paths = sorted(folder.iterdir())
        except FileNotFoundError:
            return []
        except _UNREADABLE:
            strange.add(folder)
            return []
        kept = [path for path in paths if is_name(path.name) and not path.is_symlink() and path.is_dir()]
        strange.update(set(paths) - set(kept))
        return kept


def lead_of(folder: Path) -> tuple[RunId, int]:
    """Return run and lead in hours of a folder that `SketchFolders.leads` returned.

    >>> lead_of(Path("sketches/2026-03-25T00Z/24"))
    ('2026-03-25T00Z', 24)
    """
    return RunId(folder.parent.name), int(folder.name)


def remove(path: Path) -> None:
    """Remove the file, link or folder at `path`, if it exists.

    Raises
    ------
    OSError
        If a file or link cannot be removed; a folder may be removed in part.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_run(name: str) -> bool:
    return _RUN.fullmatch(name) is not None


def _is_lead(name: str) -> bool:
    return _LEAD.fullmatch(name) is not None and int(name) % EVERY_HOURS == 0
