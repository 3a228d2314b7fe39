"""The folder of backups: what counts as one, what is removed, and what is found damaged."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gaia.validator.db.backup.contents import TableContent, differences
from gaia.validator.db.backup.folders import (
    MANIFEST,
    NoSuchBackup,
    Reason,
    backup_named,
    backups_in,
    name_of,
    prune,
)
from gaia.validator.db.backup.programs import BackupFailed
from tests.support.backups import put_backup

FIRST = datetime(2026, 3, 25, 8, tzinfo=UTC)


def put(folder: Path, day: int, reason: Reason = Reason.DAILY) -> str:
    return put_backup(folder, FIRST + timedelta(days=day), reason, rows=day)


def test_backups_are_listed_by_age_and_called_by_name(tmp_path: Path) -> None:
    names = [put(tmp_path, day) for day in (2, 0, 1)]

    assert [backup.name for backup in backups_in(tmp_path)] == sorted(names)
    assert backup_named(tmp_path, "last").name == max(names)
    assert backup_named(tmp_path, names[1]).manifest.tables == {"runs": TableContent(0, "7")}


def test_backup_that_does_not_exist_is_named_with_the_newest(tmp_path: Path) -> None:
    with pytest.raises(NoSuchBackup, match=r"no backup is called last; .* holds none"):
        backup_named(tmp_path / "missing", "last")
    newest = put(tmp_path, 0)
    with pytest.raises(NoSuchBackup, match=f"no backup is called yesterday; the newest is {newest}"):
        backup_named(tmp_path, "yesterday")


def test_unfinished_and_foreign_folders_are_no_backups(tmp_path: Path) -> None:
    whole = put(tmp_path, 0)
    (tmp_path / put(tmp_path, 1)).rename(tmp_path / f"{name_of(FIRST)}.part")
    (tmp_path / "notes").mkdir()
    (tmp_path / put(tmp_path, 2) / MANIFEST).write_text("{}")

    assert [backup.name for backup in backups_in(tmp_path)] == [whole]


def test_newest_of_each_reason_stay_and_all_that_were_requested(tmp_path: Path) -> None:
    daily = [put(tmp_path, day) for day in range(4)]
    migration = [put(tmp_path, 10 + day, Reason.MIGRATION) for day in range(3)]
    requested = [put(tmp_path, 20 + day, Reason.REQUEST) for day in range(3)]
    (tmp_path / "2026-03-01T00-00-00Z.part").mkdir()
    os.utime(tmp_path / "2026-03-01T00-00-00Z.part", (1.0, 1.0))
    (tmp_path / "2026-04-30T00-00-00Z.part").mkdir()

    gone = prune(tmp_path, 2)

    assert set(gone) == {"2026-03-01T00-00-00Z.part", *daily[:2], migration[0]}
    assert {path.name for path in tmp_path.iterdir()} == {
        *daily[2:],
        *migration[1:],
        *requested,
        "2026-04-30T00-00-00Z.part",
    }


@pytest.mark.parametrize("damage", [b"", b"rows of day 8", b"rows of day 0 and more"])
def test_changed_archive_is_found_damaged(tmp_path: Path, damage: bytes) -> None:
    put(tmp_path, 0)
    (backup,) = backups_in(tmp_path)
    backup.require_whole()

    backup.archive.write_bytes(damage)

    with pytest.raises(BackupFailed, match="is damaged; take an earlier backup"):
        backup.require_whole()


def test_missing_archive_is_named(tmp_path: Path) -> None:
    put(tmp_path, 0)
    (backup,) = backups_in(tmp_path)
    backup.archive.unlink()

    with pytest.raises(BackupFailed, match="cannot be read: No such file or directory"):
        backup.require_whole()


def test_differences_name_each_table() -> None:
    saved = {"runs": TableContent(2, "7"), "forecasts": TableContent(2, "8"), "lease": TableContent(1, "1")}
    found = {"runs": TableContent(3, "7"), "forecasts": TableContent(2, "9"), "notes": TableContent(1, "1")}

    assert differences(saved, saved) == []
    assert differences(saved, found) == [
        "table forecasts has as many rows as were saved, and other values",
        "table lease is missing",
        "table notes is not in the backup",
        "table runs has 3 rows, and 2 were saved",
    ]
