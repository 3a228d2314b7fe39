#!/usr/bin/env python3
"""Measures the sentences of README.md, docs/, the descriptions of the settings, and the docstrings of gaia/.

    .venv/bin/python scripts/words.py
    .venv/bin/python scripts/words.py --longest 20
    .venv/bin/python scripts/words.py --check

With --check it exits 1 if the mean of a page, of the settings or of the docstrings is above 16 words, or a
sentence outside tables is above 30.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_WORDS = 30
MOST_MEAN_WORDS = 16.0
SETTINGS = "settings"
"""Name of the source that is made of the descriptions of the settings."""
DOCSTRINGS = "docstrings"
"""Name of the source that is made of the docstrings of gaia/."""

_ABBREVIATIONS = frozenset(
    {"e.g.", "i.e.", "cf.", "vs.", "approx.", "no.", "fig.", "al.", "dr.", "st.", "resp."}
)
_CODE = re.compile(r"(`+).+?\1")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_URL = re.compile(r"<?https?://\S*[^\s.,;:!?)>]>?")
_EMPHASIS = re.compile(r"\*+(?=\w)|(?<=[\w.,:;!?)])\*+")
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+")
_END = re.compile(r"[.!?][_\"')\]]*\s+")
_A_NAME = "NAME"
"""Replaces a code span or an address, which readers see as one name."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence and the place where its paragraph begins."""

    place: str
    """"path:line", or the name of a setting."""
    text: str
    words: int


def sentences(text: str) -> list[str]:
    """Return the sentences of one paragraph, with code spans and addresses as `NAME`.

    A full stop ends a sentence where a blank follows, but for abbreviations.
    "etc." ends one where the next word begins with a capital letter.
    """
    plain = _LINK.sub(r"\1", _CODE.sub(_A_NAME, _URL.sub(_A_NAME, text)))
    plain = " ".join(_EMPHASIS.sub("", plain).split())
    found, start = [], 0
    for end in _END.finditer(plain):
        last = plain[start : end.end()].split()[-1].lstrip("(\"'").lower()
        goes_on = last in _ABBREVIATIONS
        if last == "etc.":
            goes_on = not plain[end.end() :][:1].isupper()
        if not goes_on:
            found.append(plain[start : end.end()].strip())
            start = end.end()
    return [*found, plain[start:]] if start < len(plain) else found


def words(sentence: str) -> int:
    """Return the number of words: pieces between blanks that contain a letter or a digit."""
    return sum(any(letter.isalnum() for letter in piece) for piece in sentence.split())


def is_prose(sentence: str) -> bool:
    """Return False for a list of names alone, which is not a sentence."""
    return any(re.search(r"[^\W\d_]{2,}", piece) for piece in sentence.replace(_A_NAME, "").split())


def paragraphs(markdown: str) -> Iterator[tuple[int, str]]:
    """Yield each paragraph and list item with its line; skip code, tables, headings and comments."""
    start, lines = 0, list[str]()
    fence = ""
    blanked = re.sub(r"<!--.*?-->", lambda hidden: "\n" * hidden[0].count("\n"), markdown, flags=re.DOTALL)
    for number, line in enumerate([*blanked.splitlines(), ""], start=1):
        stripped = line.strip()
        mark = stripped[:3]
        if fence or mark in ("```", "~~~"):
            fence = "" if fence and mark == fence else fence or mark
            stripped = ""
        item = _ITEM.match(line)
        if lines and (not stripped or item or stripped.startswith(("#", "|"))):
            yield start, " ".join(lines)
            lines = []
        if stripped and not stripped.startswith(("#", "|")):
            start = number if not lines else start
            lines.append(line[item.end() :] if item else stripped)


def measure_page(path: Path, root: Path = ROOT) -> list[Sentence]:
    """Return the sentences of one page of Markdown."""
    return [
        Sentence(f"{path.relative_to(root)}:{line}", sentence, words(sentence))
        for line, paragraph in paragraphs(path.read_text())
        for sentence in sentences(paragraph)
        if is_prose(sentence)
    ]


def measure_settings() -> list[Sentence]:
    """Return the sentences of the settings' descriptions."""
    sys.path.insert(0, str(ROOT))
    from gaia.validator.utils.config import Settings, variable_of

    return [
        Sentence(variable_of(name), sentence, words(sentence))
        for name, field in Settings.model_fields.items()
        for sentence in sentences(field.description or "")
        if is_prose(sentence)
    ]


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield each docstring of a module with its line, also those below attributes."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, inspect.cleandoc(text)


def docstring_paragraphs(text: str) -> Iterator[str]:
    r"""Yield the paragraphs of a docstring; skip headings, names of parameters and examples.

    >>> list(docstring_paragraphs("Count.\n\nReturns\n-------\nint\n    A number.\n\n>>> count()\n0"))
    ['Count.', 'A number.']
    """
    without_examples = re.sub(r"^ *>>>.*?(?:\n *(?=\n)|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    without_headings = re.sub(r"^.+\n-{3,}$", "", without_examples, flags=re.MULTILINE)
    without_names = re.sub(r"^\S.*\n(?= {4}\S)", "\n", without_headings, flags=re.MULTILINE)
    for block in re.split(r"\n\s*\n", without_names):
        for part in re.split(r"\n(?=\s*[-*+]\s)" if not _ITEM.match(block) else r"\n(?=\S)", block):
            item = _ITEM.match(part)
            if plain := " ".join(part[item.end() if item else 0 :].split()):
                yield plain


def measure_docstrings(root: Path = ROOT) -> list[Sentence]:
    """Return the sentences of the docstrings of gaia/."""
    return [
        Sentence(f"{path.relative_to(root)}:{line}", sentence, words(sentence))
        for path in sorted((root / "gaia").rglob("*.py"))
        for line, text in docstrings(path.read_text())
        for paragraph in docstring_paragraphs(text)
        for sentence in sentences(paragraph)
        if is_prose(sentence)
    ]


def measure_pages(root: Path = ROOT) -> dict[str, list[Sentence]]:
    """Return the sentences of README.md and of each page of docs/, by path."""
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    return {str(path.relative_to(root)): measure_page(path, root) for path in pages}


def figures(found: Sequence[Sentence]) -> dict[str, float]:
    """Return the number of sentences, and their mean and longest length in words."""
    lengths = [sentence.words for sentence in found]
    mean = sum(lengths) / len(lengths) if lengths else 0.0
    return {"sentences": len(lengths), "mean": round(mean, 2), "longest": max(lengths, default=0)}


def violations(sources: Mapping[str, Sequence[Sentence]]) -> list[str]:
    """Return one line for each source with a mean that is too long, and for each sentence that is."""
    means = {name: figures(found)["mean"] for name, found in sources.items()}
    broken = [f"{name}: mean of {mean} words" for name, mean in means.items() if mean > MOST_MEAN_WORDS]
    every = [one for found in sources.values() for one in found]
    return broken + [f"{one.place}: {one.words} words: {one.text}" for one in every if one.words > MOST_WORDS]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; return 1 with --check if something is too long."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--longest", type=int, default=0, metavar="N", help="print the N longest sentences")
    parser.add_argument("--check", action="store_true", help="exit 1 if something is too long")
    options = parser.parse_args(arguments)

    sources = measure_pages() | {SETTINGS: measure_settings(), DOCSTRINGS: measure_docstrings()}
    everything = [sentence for found in sources.values() for sentence in found]
    table = {name: figures(found) for name, found in sources.items()} | {"total": figures(everything)}
    broken = violations(sources)
    longest = sorted(everything, key=lambda one: -one.words)[: options.longest]
    if options.json:
        print(json.dumps({"figures": table, "violations": broken}, indent=2))
    else:
        print(f"{'':50} sentences   mean   longest")
        for name, row in table.items():
            print(f"{name:50} {row['sentences']:9}  {row['mean']:5.1f}  {row['longest']:8}")
        for one in longest:
            print(f"{one.place}: {one.words} words: {one.text}")
        if options.check:
            print("\n".join(broken) or "no sentence is too long")
    return int(options.check and bool(broken))


if __name__ == "__main__":
    sys.exit(main())
