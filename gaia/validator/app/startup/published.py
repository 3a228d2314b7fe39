"""Publishes the settings of a running validator in its run folder, without secrets."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from gaia.validator.app.meeting.rendezvous import board_path, read_board
from gaia.validator.utils.files import put_file

_NAME = "settings.json"
_PRIVATE = 0o600


class PublishedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings in force; secrets are ***."""

    pid: int
    """The IO-Engine that uses them."""
    at: float
    """Time of the start or the last reload, in Unix seconds."""
    rows: list[tuple[str, str, str]]
    """(environment name, value as text, origin) of every setting."""


def publish_settings(data_dir: Path, described: list[tuple[str, str, str]]) -> None:
    """Write the settings in force, as `Settings.describe` shows them, beside the board, for our user alone.

    Raises
    ------
    OSError
        If the disk fails.
    """
    path = _path(data_dir)
    content = PublishedSettings(pid=os.getpid(), at=time.time(), rows=described)
    put_file(path, msgspec.json.encode(content))
    path.chmod(_PRIVATE)


def published_settings(data_dir: Path) -> PublishedSettings | None:
    """Return the settings of the IO-Engine that runs on `data_dir`; None if none runs there."""
    try:
        content = _path(data_dir).read_bytes()
    except FileNotFoundError:
        return None
    published = msgspec.json.decode(content, type=PublishedSettings)
    # An engine that was killed, or could not write, leaves the file of its predecessor.
    is_in_force = published.pid in read_board(board_path(data_dir)).processes.values()
    return published if is_in_force else None


def _path(data_dir: Path) -> Path:
    return board_path(data_dir).with_name(_NAME)
