"""Looks at the folder of backups, and for the programs that make one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.validator.db.backup.folders import backups_in
from gaia.validator.db.backup.programs import DUMP, RESTORE
from gaia.validator.doctor.facts import Backups
from gaia.validator.doctor.looks.files import problem_of
from gaia.validator.utils.machine.postgres_programs import folders_with, major_of

if TYPE_CHECKING:
    from pathlib import Path

    from gaia.validator.utils.settings.backup import BackupSettings


def look_at_backups(settings: BackupSettings, data_dir: Path) -> Backups:
    """Return the state of the folder of backups, or of the folder in which it would be made."""
    path = settings.folder(data_dir).absolute()
    standing = next(folder for folder in (path, *path.parents) if folder.exists())
    known = backups_in(path)
    majors = [major_of(folder / DUMP) for folder in folders_with(DUMP, RESTORE)]
    return Backups(
        path=path,
        problem=problem_of(standing),
        number=len(known),
        newest=known[-1].manifest.made_at if known else None,
        programs_major=max((major for major in majors if major is not None), default=None),
    )
