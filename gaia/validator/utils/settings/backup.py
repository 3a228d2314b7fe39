"""Settings of backups: where they are stored, how often they are made, and how many stay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from gaia.validator.utils.setting_sources import HandedSettings, at_home, setting


class BackupSettings(HandedSettings):
    """Settings for backups of the database."""

    heading: ClassVar[str] = "Backups"

    backup_dir: Annotated[Path, AfterValidator(at_home)] | None = setting(
        None,
        "Folder for backups of the database, best on another disk. Empty: backups in GAIA_DATA_DIR.",
    )
    backup_every_hours: float = setting(
        24.0,
        "Hours between two backups that the validator makes by itself. 0: it makes none.",
        ge=0,
        le=24 * 366,
    )
    backups_kept: int = setting(
        7,
        "Number of the newest backups that stay, of those made by time, and again of those before a migration.",
        ge=1,
        le=1000,
    )
    backup_before_migration: bool = setting(
        True,
        "Whether a backup is made before the schema changes. If it fails, the schema stays as it is.",
    )

    def folder(self, data_dir: Path) -> Path:
        """Return the folder for backups of a validator with this data folder."""
        return data_dir / "backups" if self.backup_dir is None else self.backup_dir
