"""Publishes the settings and the release of a running validator in its run folder, without secrets."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from gaia.validator.app.meeting.rendezvous import board_path, read_board
from gaia.validator.utils.files import put_file
from gaia.validator.utils.secrecy import HIDDEN
from gaia.validator.utils.version import commit, version

_NAME = "settings.json"
_PRIVATE = 0o600
_DEFAULT = "default"


class PublishedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings in force; secrets are ***."""

    pid: int
    """The IO-Engine that uses them."""
    at: float
    """Time of the start or the last reload, in Unix seconds."""
    rows: list[tuple[str, str, str]]
    """(environment name, value as text, origin) of every setting."""
    version: str = ""
    """Version of the program; "": unknown, as of earlier releases."""
    commit: str = ""
    """Full commit of the program; "": unknown."""

    def defaults(self) -> dict[str, str]:
        """Return environment name -> value, of what had its default."""
        return {name: value for name, value, origin in self.rows if origin == _DEFAULT}

    def given(self) -> dict[str, str]:
        """Return environment name -> value in the form of .env, of what is neither a default nor secret."""
        return {
            name: value for name, value, origin in self.rows if origin != _DEFAULT and HIDDEN not in value
        }


def publish_settings(data_dir: Path, described: list[tuple[str, str, str]]) -> None:
    """Write the settings in force, as `Settings.describe` shows them, beside the board, for our user alone.

    Raises
    ------
    OSError
        If the disk fails.
    """
    path = _path(data_dir)
    content = PublishedSettings(
        pid=os.getpid(), at=time.time(), rows=described, version=version(), commit=commit()
    )
    put_file(path, msgspec.json.encode(content))
    path.chmod(_PRIVATE)


def published_settings(data_dir: Path) -> PublishedSettings | None:
    """Return the settings of the IO-Engine that runs on `data_dir`; None if none runs there."""
    published = last_settings(data_dir)
    if published is None:
        return None
    # An engine that was killed, or could not write, leaves the file of its predecessor.
    is_in_force = published.pid in read_board(board_path(data_dir)).processes.values()
    return published if is_in_force else None


def last_settings(data_dir: Path) -> PublishedSettings | None:
    """Return the settings of the last IO-Engine of `data_dir`; None if none published any in this form."""
    try:
        return msgspec.json.decode(_path(data_dir).read_bytes(), type=PublishedSettings)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _path(data_dir: Path) -> Path:
    return board_path(data_dir).with_name(_NAME)
