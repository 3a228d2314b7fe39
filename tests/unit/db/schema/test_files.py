"""Migrations are read from numbered files, and a folder that would mislead is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaia.validator.db.schema.files import MalformedMigrations, read_migrations

FIRST_WITH_DOWN = 13
"""Version from which each migration can be taken back."""


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(f"-- {name}\n")


def test_migrations_are_read_in_order_with_what_takes_them_back(tmp_path: Path) -> None:
    write(tmp_path, "0002_second.sql", "0001_first.sql", "0002_second.down.sql")

    first, second = read_migrations(tmp_path)

    assert (first.version, first.name, first.down) == (1, "first", None)
    assert (second.version, second.name, second.down) == (2, "second", "-- 0002_second.down.sql\n")
    assert first.sha256 != second.sha256


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["0001_first.sql", "0003_third.sql"], "not 1, 2, 3"),
        (["0001_first.sql", "0001_other.sql"], "not 1, 2, 3"),
        (["0001_first.sql", "0001_other.down.sql"], "no migration that it takes back"),
        (["first.sql"], "not NNNN_name.sql"),
        (["0001_First.sql"], "not NNNN_name.sql"),
    ],
)
def test_folder_that_would_mislead_is_refused(tmp_path: Path, names: list[str], problem: str) -> None:
    write(tmp_path, *names)

    with pytest.raises(MalformedMigrations, match=problem):
        read_migrations(tmp_path)


def test_migration_says_in_its_first_line_that_it_runs_outside_of_a_transaction(tmp_path: Path) -> None:
    (tmp_path / "0001_index.sql").write_text(
        "-- concurrently\nCREATE INDEX CONCURRENTLY IF NOT EXISTS a ON b (c);\n"
    )

    assert read_migrations(tmp_path)[0].is_concurrent


def test_each_migration_since_there_are_down_scripts_has_one() -> None:
    assert [
        each.name for each in read_migrations() if each.version >= FIRST_WITH_DOWN and each.down is None
    ] == []
