"""Finds the newest backup."""

from __future__ import annotations

import time
from pathlib import Path

from gaia.cli.upgrade.findings import Backup
from gaia.validator.db.backup.folders import backups_in


def newest_backup(folder: Path) -> Backup | None:
    """Return the newest backup in the folder of all; None if there is none.

    Its age is by the clock of this machine.
    """
    known = backups_in(folder)
    if not known:
        return None
    newest = known[-1]
    age_s = max(time.time() - newest.manifest.made_at.timestamp(), 0.0)
    return Backup(
        folder=str(newest.folder), made_at=newest.manifest.made_at, age_hours=round(age_s / 3600, 1)
    )
