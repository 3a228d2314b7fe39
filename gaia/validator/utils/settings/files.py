"""Settings of the data folder: its place, its free space, and how long files stay in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from gaia.validator.utils.setting_sources import HandedSettings, at_home, setting


class FilesSettings(HandedSettings):
    """Settings for writing to the data folder."""

    heading: ClassVar[str] = "Files"

    data_dir: Annotated[Path, AfterValidator(at_home)] = setting(
        Path("data"),
        "Folder for the embedded database, downloads, reference fields, sockets and logs. Only one validator may use it.",
    )
    data_min_free_mib: int = setting(
        512,
        "MiB that must be free in the data folder. With less, the validator does not start.",
        ge=1,
    )
    keep_inputs_days: float = setting(
        0.0,
        "Days to keep scored chunks and reference fields for replay. 0 deletes chunks once scored.",
        ge=0,
    )
    keep_scores_days: float = setting(
        90.0,
        "Days to keep the scores of fields. Scores of leads and runs stay for good.",
        ge=45,
    )
    keep_manifests_days: float = setting(
        30.0,
        "Days to keep the miners' manifests: at least as long as their chunks and as the window of the weights.",
        ge=1,
    )
    data_max_gib: float = setting(
        0.0,
        "GiB that the data folder may use. Near it, no chunk is downloaded. 0: as much as the disk has.",
        ge=0,
    )

    @property
    def data_max_bytes(self) -> int:
        """Bytes that the data folder may use; 0: as much as the disk has."""
        return int(self.data_max_gib * 2**30)
