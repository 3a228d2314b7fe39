"""Writes the files of a site into a folder of its own, one by one, and removes those that it no longer has."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gaia.cli.arguments import NotWritten
from gaia.validator.utils.files import put_file

if TYPE_CHECKING:
    from collections.abc import Mapping

LIST = "data/files.json"
"""File that lists all files of the site; it marks a folder as ours."""


def write_site(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Replace the site in `folder`; return the paths of former files that were removed.

    A reader sees each file whole, the former one or the new one. Pages come before those that link to them.

    Parameters
    ----------
    folder
        A folder that is missing, empty, or holds a site.
    files
        Path from the folder -> content, the first page first.

    Raises
    ------
    NotWritten
        If the folder holds other files, or the disk fails.
    """
    try:
        former = _former(folder)
        # Listed before, so that the successor of an interrupted export knows every file.
        _put(folder / LIST, _listed(former | files.keys()))
        for path in reversed(list(files)):
            _put(folder / path, files[path])
        gone = sorted(former - files.keys())
        for path in gone:
            (folder / path).unlink(missing_ok=True)
        _put(folder / LIST, _listed(files))
    except OSError as error:
        raise NotWritten(
            f"{error.filename or folder} cannot be written: {error.strerror or error}"
        ) from error
    return gone


def _former(folder: Path) -> set[str]:
    """Return the files of the site in `folder`, and claim a new folder for a site."""
    path = folder / LIST
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise NotWritten(f"{folder} holds files but no site; name a folder that is empty or new")
        _put(path, _listed(()))
        return set()
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise NotWritten(f"{path} is damaged; remove {folder} and export again") from error
    return {name for name in listed if isinstance(name, str) and _is_inside(name)}


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _listed(files: Iterable[str]) -> bytes:
    return json.dumps({"files": sorted(files)}, indent=1).encode() + b"\n"


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != content:
        put_file(path, content)
