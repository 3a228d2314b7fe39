"""The numbered SQL files that make the schema.

``NNNN_name.sql`` changes the schema, and ``NNNN_name.down.sql`` takes that change back. A file is one
transaction. One whose first line is ``-- concurrently`` holds a single statement that runs outside of
any, such as CREATE INDEX CONCURRENTLY IF NOT EXISTS. It must do no harm if it is run twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / "migrations"

_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_DOWN: Final = ".down.sql"
_CONCURRENTLY: Final = "-- concurrently"


class MalformedMigrations(ValueError):
    """The files of a folder are no migrations; names the file."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One change of the schema."""

    version: int
    name: str
    sql: str
    down: str | None = None
    """What takes it back; None: it cannot be taken back."""

    @property
    def sha256(self) -> str:
        """Digest of the change, as it is stored with it."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def is_concurrent(self) -> bool:
        """Whether it runs outside of a transaction, and lets others write meanwhile."""
        return runs_concurrently(self.sql)


def runs_concurrently(sql: str) -> bool:
    """Return whether a file, up or down, runs outside of a transaction."""
    return sql.startswith(_CONCURRENTLY)


def read_migrations(folder: Path = FOLDER) -> list[Migration]:
    """Return the migrations of a folder, lowest version first.

    Raises
    ------
    MalformedMigrations
        If a name has another form, a version is missing or occurs twice, or a down script stands alone.
    """
    downs = {path.name.removesuffix(_DOWN): path for path in folder.glob(f"*{_DOWN}")}
    migrations: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        if path.name.endswith(_DOWN):
            continue
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise MalformedMigrations(f"{path}: the name is not NNNN_name.sql")
        down = downs.pop(path.stem, None)
        text = None if down is None else down.read_text(encoding="utf-8")
        migrations.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8"), text))
    if downs:
        raise MalformedMigrations(f"{min(downs.values())}: there is no migration that it takes back")
    _require_gapless(folder, migrations)
    return migrations


def _require_gapless(folder: Path, migrations: Sequence[Migration]) -> None:
    versions = [migration.version for migration in migrations]
    if versions != list(range(1, len(versions) + 1)):
        raise MalformedMigrations(f"{folder}: the versions are {versions}, not 1, 2, 3 and so on")
