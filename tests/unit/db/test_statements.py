"""Statements are read from files, each under one name, and each is used."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from gaia.localnet.view import watch
from gaia.validator.db.statements import FOLDER, SQL, MalformedStatements, by_name, parse, read_statements
from tests.support.repository import ROOT

PATH = Path("runs.sql")

TWO = """\
-- Runs, in a sentence about the file.

-- name: open_runs
-- Runs with work left.
-- Oldest first.
SELECT run_id
  FROM runs  -- all of them
 ORDER BY init_time;

-- name: close_run
-- Closes a run.
UPDATE runs SET state = 'completed';
"""


def test_file_gives_name_and_text_of_each_statement_in_its_order() -> None:
    first, second = parse(PATH, TWO)

    assert (first.name, first.line) == ("open_runs", 3)
    assert first.text == "SELECT run_id\n  FROM runs  -- all of them\n ORDER BY init_time"
    assert (second.name, second.text) == ("close_run", "UPDATE runs SET state = 'completed'")


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("SELECT 1;\n-- name: one\n-- One.\nSELECT 1;\n", 1, "before the first name"),
        ("SELECT 1;\n", 1, "before the first name"),
        ("-- name: One Two\n-- One.\nSELECT 1;\n", 1, "'One Two' is no name"),
        ("-- name:\n-- One.\nSELECT 1;\n", 1, "'' is no name"),
        ("\n-- name: one\nSELECT 1;\n", 2, "no sentence"),
        ("-- name: one\n--\nSELECT 1;\n", 1, "no sentence"),
        ("-- name: one\n-- One.\n\n-- name: two\n-- Two.\nSELECT 2;\n", 1, "no SQL"),
        ("-- name: one\n-- One.\nSELECT 1\n", 3, "does not end in a semicolon"),
        ("-- name: one\n-- One.\nSELECT 1;\nSELECT 2;\n", 3, "second statement"),
    ],
)
def test_malformed_file_is_refused_with_its_name_and_line(content: str, line: int, problem: str) -> None:
    with pytest.raises(MalformedStatements, match=problem) as refused:
        parse(PATH, content)

    assert (refused.value.path, refused.value.line) == (PATH, line)
    assert str(refused.value).startswith(f"runs.sql:{line}: ")


def test_name_that_stands_in_two_files_is_refused_with_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- name: one\n-- One.\nSELECT 1;\n")
    (tmp_path / "b.sql").write_text("\n-- name: one\n-- One.\nSELECT 1;\n")

    with pytest.raises(MalformedStatements, match=r"b\.sql:2: the name one stands in .*a\.sql:1 as well"):
        read_statements(tmp_path / "a.sql", tmp_path / "b.sql")


def test_statements_are_read_once_and_nobody_changes_them() -> None:
    assert (
        by_name(each for path in sorted(FOLDER.glob("*.sql")) for each in parse(path, path.read_text()))
        == SQL
    )
    with pytest.raises(TypeError):
        SQL["open_runs"] = "SELECT 1"  # type: ignore[index] # what it does not allow, it refuses


def test_no_query_stands_under_two_names() -> None:
    texts = Counter(" ".join(text.split()) for text in SQL.values())

    assert [text for text, count in texts.items() if count > 1] == []


def used(folder: Path, container: str) -> set[str]:
    """Names by which code below `folder` asks `container` for a statement."""
    pattern = re.compile(rf'(?<![A-Za-z_]){container}\["(\w+)"\]')
    return {name for path in folder.rglob("*.py") for name in pattern.findall(path.read_text())}


def test_every_statement_is_used_by_code_and_code_uses_no_other() -> None:
    by_code = used(ROOT / "gaia" / "validator", "SQL") | used(ROOT / "gaia" / "cli", "SQL")
    assert by_code == set(SQL)
    assert used(ROOT / "gaia" / "localnet" / "view", "_SQL") == set(watch._SQL)


MAY_HOLD_SQL = {
    "gaia/cli/source.py",  # sets what its transaction may do
    "gaia/validator/app/observation/pages/served.py",  # likewise
    "gaia/validator/doctor/checks/database.py",  # prints what an administrator should execute
}
_STATEMENT = re.compile(r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE|ALTER|DROP|SET TRANSACTION)\s")


def test_python_files_hold_no_statement() -> None:
    holding = set()
    for path in (ROOT / "gaia").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and _STATEMENT.match(node.value)
            ):
                holding.add(path.relative_to(ROOT).as_posix())

    assert holding == MAY_HOLD_SQL
