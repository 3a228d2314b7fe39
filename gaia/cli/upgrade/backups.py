"""Finds the newest backup."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from gaia.cli.upgrade.findings import Backup

_FOLDER = "backups"
_MANIFEST = "manifest.json"


def newest_backup(data_dir: Path, folder: Path | None = None) -> Backup | None:
    """Return the newest backup; None if there is none.

    A backup is a folder with a manifest, which is written last. Its age is that of the manifest, by the
    clock of this machine.

    Parameters
    ----------
    folder
        Folder of all backups; None: the usual one in `data_dir`.
    """
    made = {path: path.stat().st_mtime for path in (folder or data_dir / _FOLDER).glob(f"*/{_MANIFEST}")}
    if not made:
        return None
    newest = max(made, key=lambda path: (made[path], path))
    age_s = max(time.time() - made[newest], 0.0)
    return Backup(
        folder=str(newest.parent),
        made_at=datetime.fromtimestamp(made[newest], UTC),
        age_hours=round(age_s / 3600, 1),
    )
