"""A disk of its own for the validator's data folder, so that it can be full for a moment; needs root."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SIZE_MIB: Final = 6144
"""Pages that nobody wrote take no memory."""

_PAGE: Final = 4096
_TRIES: Final = 100
_REFUSED: Final = 32
"""What mount returns if the kernel refuses."""


def can_mount() -> bool:
    """Return whether this process may mount a disk."""
    with tempfile.TemporaryDirectory(prefix="disk-") as folder:
        try:
            mount(Path(folder))
        except (OSError, subprocess.CalledProcessError):
            return False
        unmount(Path(folder))
        return True


def mount(folder: Path) -> None:
    """Mount an empty disk in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={_SIZE_MIB}m", "tmpfs", str(folder))


def unmount(folder: Path, *, keep: bool = False) -> None:
    """Take the disk away; what is on it goes as soon as nobody has it open, or is copied into the folder to `keep` it."""
    copy = folder.with_name(f"{folder.name}.copy")
    if keep:
        shutil.copytree(folder, copy, symlinks=True, ignore=shutil.ignore_patterns("*.sock", ".s.PGSQL.*"))
    _umount(folder)
    if keep:
        shutil.copytree(copy, folder, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(copy)


def _umount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def is_mounted(folder: Path) -> bool:
    """Return whether the folder is a disk of its own."""
    return os.path.ismount(folder)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Shrink the disk to what it holds, so that no page more can be written; give the space back at the end.

    Raises
    ------
    OSError
        If the folder is no disk of its own, or cannot be shrunk.
    """
    if not is_mounted(folder):
        raise OSError(errno.ENOTBLK, "the folder is no disk of its own", str(folder))
    for _ in range(_TRIES):  # somebody may write in between
        if resize(folder, f"{max(shutil.disk_usage(folder).used, _PAGE)}"):  # 0 would be no limit
            break
    else:
        raise OSError(errno.EBUSY, "the disk cannot be shrunk", str(folder))
    try:
        yield
    finally:
        resize(folder, f"{_SIZE_MIB}m")


def resize(folder: Path, size: str) -> bool:
    """Set the size of the disk; return False if more is on it."""
    try:
        _mount("-o", f"remount,size={size}", str(folder))
    except subprocess.CalledProcessError as error:
        if error.returncode != _REFUSED:
            raise
        return False
    return True


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
