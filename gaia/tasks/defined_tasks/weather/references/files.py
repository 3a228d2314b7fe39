"""Files of reference sets: their places, and checks against the recorded digests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from gaia.tasks.defined_tasks.weather.units import FieldFile
from gaia.validator.utils.errors import OwnFailure
from gaia.validator.utils.files import put_file

FieldFiles = Mapping[str, FieldFile]
"""Field name -> its file."""

FIELDS: Final = "fields"
"""Folder of reference fields below the data folder."""

_MOST_REMEMBERED: Final = 20_000


class ReferenceFiles:
    """Checks and repairs the field files below `data_dir`.

    A process reads each file in full once. After that, size, time and inode show whether the
    file is unchanged.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._seen: dict[Path, tuple[str, tuple[int, int, int]]] = {}

    def placed(self, recorded: Mapping[str, Mapping[str, str]]) -> dict[str, FieldFile]:
        """Return recorded fields with absolute paths in the present data folder."""
        fields = msgspec.convert(recorded, dict[str, FieldFile])
        return {
            name: replace(entry, path=str(place_in(self._data_dir, entry.path)))
            for name, entry in fields.items()
        }

    def recorded(self, fields: FieldFiles) -> dict[str, dict[str, str]]:
        """Return `fields` in the form of the database, with paths relative to the data folder."""
        return {
            name: msgspec.to_builtins(
                replace(entry, path=Path(entry.path).relative_to(self._data_dir).as_posix())
            )
            for name, entry in fields.items()
        }

    def damage(self, fields: FieldFiles) -> list[str]:
        """Return one sentence for each of `fields` (placed) that is not as recorded.

        Raises
        ------
        OwnFailure
            If the disk fails.
        """
        found = []
        for name, entry in fields.items():
            path = Path(entry.path)
            try:
                if not self._is_intact(path, entry.sha256):
                    found.append(f"{name} is damaged")
            except FileNotFoundError:
                found.append(f"{name} is gone")
            except OSError as error:
                raise OwnFailure(f"{path.name} cannot be read: {error.strerror or error}") from error
        return found

    @staticmethod
    def are_elsewhere(fields: FieldFiles) -> bool:
        """Return whether none of the folders of `fields` (placed) exists, because another data folder holds them."""
        return not any(Path(entry.path).parent.exists() for entry in fields.values())

    def mend(self, held: FieldFiles, fresh: FieldFiles) -> dict[str, FieldFile]:
        """Replace the files of `held` by the equal ones of `fresh`; return all fields at the places of `held`.

        Raises
        ------
        OwnFailure
            If a file cannot be written.
        """
        merged = {**fresh, **held}
        for name in held.keys() & fresh.keys():
            source, target = Path(fresh[name].path), Path(held[name].path)
            if source == target:
                continue
            try:
                put_file(target, source.read_bytes())
            except OSError as error:
                raise OwnFailure(f"{target.name} cannot be repaired: {error.strerror or error}") from error
        return merged

    def _is_intact(self, path: Path, sha256: str) -> bool:
        status = path.stat()
        mark = (status.st_size, status.st_mtime_ns, status.st_ino)
        if self._seen.get(path) == (sha256, mark):
            return True
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != sha256:
            return False
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen.clear()
        self._seen[path] = (sha256, mark)
        return True


def place_in(data_dir: Path, recorded: str) -> Path:
    """Return the place in `data_dir` of a file that a row names.

    Rows name files relative to the data folder. Older releases recorded absolute paths, which may lie
    in another data folder; what follows their folder of fields is the same in each.

    >>> place_in(Path("/new"), "fields/era5/2026-03-26T00Z/final/2t.f32").as_posix()
    '/new/fields/era5/2026-03-26T00Z/final/2t.f32'
    >>> place_in(Path("/new"), "/old/fields/era5/2026-03-26T00Z/final/2t.f32").as_posix()
    '/new/fields/era5/2026-03-26T00Z/final/2t.f32'
    """
    place = data_dir / recorded
    if place.is_relative_to(data_dir):
        return place
    below = place.as_posix().rpartition(f"/{FIELDS}/")[2]
    return data_dir / FIELDS / below.lstrip("/")


def paths_of(files: FieldFiles) -> dict[str, str]:
    """Return field -> path."""
    return {field: entry.path for field, entry in files.items()}


def digests_of(files: FieldFiles) -> dict[str, str]:
    """Return field -> SHA-256 (hex)."""
    return {field: entry.sha256 for field, entry in files.items()}
