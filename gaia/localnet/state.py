"""State folders of local subnets: made, removed and locked."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from gaia.validator.utils.errors import GaiaError

STATE_ROOT = Path(".localnet")
KEPT = 1


class StateInUse(GaiaError):
    """Another local subnet runs in this folder."""


def fresh_state_dir(now: datetime, root: Path = STATE_ROOT, *, keep_all: bool = False) -> Path:
    """Return a new folder below `root` named after `now`; remove all older ones except the last.

    The folder of a running subnet is never removed.
    """
    root.mkdir(parents=True, exist_ok=True)
    older = sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())
    for path in [] if keep_all else older[: max(0, len(older) - KEPT)]:
        if not is_in_use(path):
            shutil.rmtree(path, ignore_errors=True)
    stamp = now.strftime("%Y%m%d-%H%M%S")
    names = [stamp, *(f"{stamp}-{number}" for number in range(2, 1000))]
    path = root / next(name for name in names if not (root / name).exists())
    path.mkdir()
    return path


@contextmanager
def in_use(state_dir: Path) -> Iterator[None]:
    """Lock `state_dir` while the body runs; the lock dies with the process.

    Raises
    ------
    StateInUse
        If another process holds the lock.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(state_dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateInUse(f"a local subnet runs in {state_dir}; choose another --state") from None
        yield
    finally:
        os.close(descriptor)


def is_in_use(state_dir: Path) -> bool:
    """Return whether a living process holds the lock of `state_dir`."""
    if not (state_dir / "lock").exists():
        return False
    try:
        with in_use(state_dir):
            return False
    except StateInUse:
        return True
