"""The measure of our prose, and the prose itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import words
from words import (
    DOCSTRINGS,
    MOST_MEAN_WORDS,
    MOST_WORDS,
    Sentence,
    docstring_paragraphs,
    docstrings,
    figures,
    is_prose,
    measure_docstrings,
    measure_page,
    measure_pages,
    measure_settings,
    paragraphs,
    sentences,
    violations,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("seccomp reads it. seccomp cannot follow it.", ["seccomp reads it.", "seccomp cannot follow it."]),
        ("Peers, e.g. Dask, take part. They differ.", ["Peers, e.g. Dask, take part.", "They differ."]),
        ("Chains, archives etc. run. Then it ends.", ["Chains, archives etc. run.", "Then it ends."]),
        ("Chains, archives etc. Then it ends.", ["Chains, archives etc.", "Then it ends."]),
        ("It takes 0.5 s. Python 3.11. does it.", ["It takes 0.5 s.", "Python 3.11.", "does it."]),
        ("Run `a.b. C. d` now. Then stop.", ["Run NAME now.", "Then stop."]),
        ("See https://example.org/a.b?c=d. Then go.", ["See NAME.", "Then go."]),
        ("Read [the page. Twice](a/b.md). Then go.", ["Read the page.", "Twice.", "Then go."]),
        (
            "*Lower bound.* It is low. **No sandbox.** None.",
            ["Lower bound.", "It is low.", "No sandbox.", "None."],
        ),
        ('He said "go." Then (they left.) It ended', ['He said "go."', "Then (they left.)", "It ended"]),
        ("256 * 255 pairs", ["256 * 255 pairs"]),
        ("Python and in C. The end.", ["Python and in C.", "The end."]),
    ],
)
def test_a_paragraph_is_cut_where_a_reader_stops(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_words_are_what_has_a_letter_or_digit() -> None:
    assert words.words("A - B = NAME, 95 % of it") == 6


@pytest.mark.parametrize(
    ("text", "expected"), [("NAME, NAME", False), ("NAME is set", True), ("50 100", False)]
)
def test_a_list_of_names_is_no_sentence(text: str, expected: bool) -> None:
    assert is_prose(text) is expected


def test_code_tables_headings_and_comments_are_not_counted() -> None:
    page = """# Heading that is not counted
First line
of a paragraph.

<!-- hidden
text. -->
```
code. more code.
```
| a cell. | another. |
- an item
  goes on.
2. A second item.
   ```
   code
   ```
Last.
"""

    assert list(paragraphs(page)) == [
        (2, "First line of a paragraph."),
        (11, "an item goes on."),
        (13, "A second item."),
        (17, "Last."),
    ]


def test_a_sentence_is_found_by_file_and_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\nIt is short. So is this one.\n")

    assert measure_page(page, tmp_path) == [
        Sentence("page.md:3", "It is short.", 3),
        Sentence("page.md:3", "So is this one.", 4),
    ]
    assert figures(measure_page(page, tmp_path)) == {"sentences": 2, "mean": 3.5, "longest": 4}


def test_long_sentences_and_long_means_are_violations() -> None:
    most, beyond = int(MOST_MEAN_WORDS), int(MOST_MEAN_WORDS) + 1

    assert violations({"a": [Sentence("a:1", "fits", MOST_WORDS), Sentence("a:2", "short", 2)]}) == []
    assert violations({"a": [Sentence("a:1", "fits", most)]}) == []
    assert violations({"a": [Sentence("a:1", "text", beyond)]}) == [f"a: mean of {float(beyond)} words"]
    long = [Sentence("a:1", "text", MOST_WORDS + 1), Sentence("a:2", "short", 1)]
    assert violations({"a": long}) == [f"a:1: {MOST_WORDS + 1} words: text"]


def test_readme_and_docs_are_short_enough_to_be_read_once() -> None:
    assert violations(measure_pages()) == []


def test_descriptions_of_settings_are_short_enough_to_be_read_once() -> None:
    assert violations({words.SETTINGS: measure_settings()}) == []


MODULE = '''"""What it is."""

LIMIT = 3
"""Largest number."""


def counted(names: list[str]) -> int:
    """Return the number of names. It
    is small.

    - One item.
      It goes on.
    - Another.

    Parameters
    ----------
    names
        Names to
        count.
        1. is no item here.

    Raises
    ------
    ValueError
        If there are none.

    Examples
    --------
    >>> counted(["a. B"])
    1
    """
    "not one"[0]
    return len(names)
'''


def test_docstrings_are_those_of_modules_attributes_and_functions() -> None:
    found = list(docstrings(MODULE))

    assert [(line, text.split(".")[0]) for line, text in found] == [
        (1, "What it is"),
        (4, "Largest number"),
        (8, "Return the number of names"),
    ]
    assert list(docstring_paragraphs(found[-1][1])) == [
        "Return the number of names. It is small.",
        "One item. It goes on.",
        "Another.",
        "Names to count. 1. is no item here.",
        "If there are none.",
    ]


def test_a_docstring_is_found_by_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "gaia").mkdir()
    (tmp_path / "gaia" / "module.py").write_text(MODULE)
    (tmp_path / "elsewhere.py").write_text(MODULE)

    found = measure_docstrings(tmp_path)

    assert found[:2] == [
        Sentence("gaia/module.py:1", "What it is.", 3),
        Sentence("gaia/module.py:4", "Largest number.", 2),
    ]


def test_docstrings_are_short_enough_to_be_read_once() -> None:
    found = measure_docstrings()

    assert len(found) > 1000
    assert violations({DOCSTRINGS: found}) == []


def test_json_is_one_object_with_figures_of_each_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert words.main(["--json", "--check"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["violations"] == []
    assert {"README.md", "docs/glossary.md", words.SETTINGS, DOCSTRINGS, "total"} <= printed["figures"].keys()
    assert printed["figures"]["total"]["longest"] <= MOST_WORDS


def test_longest_sentences_are_printed_with_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    words.main(["--longest", "2"])

    last = capsys.readouterr().out.splitlines()[-2:]
    assert all(" words: " in line and ":" in line.split()[0] for line in last)
