"""Tables fit the terminal: columns are left out by rank, then rows become lines, and nothing is cut."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from rich.cells import cell_len

from gaia.cli.tables import table_lines

COLUMNS = ("run", "rule set??", ">uid", "hotkey?", ">overall", "~reason")
HOTKEY = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
REASON = "2t/3.0.0 is not what the manifest promises: 4153 bytes were sent and 4160 were promised"
ROWS = [
    ("2026-03-25T00Z", "gaia-2.9", 7, HOTKEY, 0.123456, REASON),
    ("2026-03-26T00Z", "b", 255, "x", None, ""),
]
WIDTHS = [200, 120, 100, 80, 60, 40]


@pytest.mark.parametrize("width", WIDTHS)
def test_lines_fit_and_no_number_nor_id_is_cut(width: int) -> None:
    lines = table_lines(COLUMNS, ROWS, width)

    assert max(map(cell_len, lines)) <= width or lines[0].startswith("run: ")
    text = " ".join(lines)
    for value in ("2026-03-25T00Z", "2026-03-26T00Z", "7", "255", "0.1235"):
        assert value in text.split()
    assert "…" not in text
    assert [word for word in REASON.split() if word not in text.split()] == []


def test_pipe_gets_every_column_in_one_line_a_row() -> None:
    lines = table_lines(COLUMNS, ROWS, None)

    assert len(lines) == 2 + len(ROWS)
    assert HOTKEY in lines[2]
    assert REASON in lines[2]


def test_columns_are_left_out_by_rank_and_named() -> None:
    assert "rule set" in table_lines(COLUMNS, ROWS, 120)[0]
    without_one = table_lines(COLUMNS, ROWS, 100)
    assert "hotkey" in without_one[0]
    assert without_one[-1] == "Not shown for lack of room: rule set."
    assert table_lines(COLUMNS, ROWS, 60)[-1] == "Not shown for lack of room: rule set, hotkey."


def test_row_becomes_lines_where_no_table_fits() -> None:
    lines = table_lines(COLUMNS, ROWS, 40)

    assert lines[:3] == ["run: 2026-03-25T00Z", "rule set: gaia-2.9", "uid: 7"]
    assert f"hotkey: {HOTKEY}" in lines
    assert lines.count("") == len(ROWS) - 1


def test_text_is_folded_under_its_own_heading() -> None:
    lines = table_lines(("a", "~words"), [("x", "one two three four five six")], 20)

    assert lines[2:] == ["x  one two three", "   four five six"]


def test_numbers_stand_below_each_other() -> None:
    lines = table_lines((">n", "at"), [(1, datetime(2026, 1, 2, 3, 4, tzinfo=UTC)), (100, None)], 80)

    assert lines[2:] == ["  1  2026-01-02 03:04Z", "100  -"]


def test_wide_letters_count_as_two_cells() -> None:
    lines = table_lines(("a", "b"), [("雨雨", 1), ("x", 2)], 80)

    assert lines[2:] == ["雨雨  1", "x     2"]


def test_table_without_rows_has_its_headings() -> None:
    assert table_lines(("a", "b"), [], 80)[0] == "a  b"


def test_cell_with_a_strangers_text_controls_no_terminal() -> None:
    assert table_lines(("~reason",), [("late\x1b[2J\nthen",)], None)[-1] == "late [2J then"
