"""The glossary has every coined noun, and the map of the architecture every folder."""

from __future__ import annotations

import re

import pytest

from tests.support.repository import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"
ARCHITECTURE = ROOT / "docs" / "explanation" / "architecture.md"
COINED = (
    "admitted, attempt, baseline, blend, board, border, broker, burn, canary, committed, component, "
    "condemned, crash history, doubt, draft, drain, due moment, excused, finalised, forfeit, fork server, "
    "freeze window, frozen, golden trace, Gram matrix, handler, heartbeat, incarnation, incident, intent, "
    "job, journal, kept inputs, lead, lease, lease book, ledger, local subnet, lower confidence skill, "
    "manifest, overlap, party, poison, post-mortem, products, promise, quarantine, question, raw error, "
    "recycle, reference, rehearsal, reject, replay, residual error, room, round, rule set, run, seat, shadow, "
    "shelf, sketch, snooze, spool, standby, standing, stop, strike, tick, truth, unclaimed, unit, verdict, "
    "weight rule, window, wire"
)
"""Nouns of this code that a dictionary or the field does not explain."""


def _entries() -> list[str]:
    return re.findall(r"^- \*\*(.+?)\*\*: \S", GLOSSARY.read_text(), re.MULTILINE)


@pytest.mark.parametrize("noun", COINED.split(", "))
def test_noun_that_we_coined_is_in_the_glossary(noun: str) -> None:
    assert noun in _entries()


def test_glossary_is_sorted_and_has_each_word_once() -> None:
    tables = re.findall(r"(?:^\|.*\n)+", GLOSSARY.read_text(), re.MULTILINE)
    columns = [[row.split("|")[1].strip(" `") for row in table.splitlines()[2:]] for table in tables]

    for words in [_entries(), *columns]:
        assert len(words) > 5
        folded = [word.casefold() for word in words]
        assert folded == sorted(set(folded))


def _mapped() -> set[str]:
    """Return the path of each folder that the map shows, from the top."""
    drawing = ARCHITECTURE.read_text().split("## The layout")[1].split("```")[1]
    shown: set[str] = set()
    above: list[str] = []
    for line in drawing.splitlines():
        found = re.match(r"((?:│  |   )*)([├└]─ )?(\S+)/(?: |$)", line)
        if found:
            depth = len(found[1]) // 3 + bool(found[2])
            above = [*above[:depth], found[3]]
            shown.add("/".join(above))
    return shown


def test_map_of_the_architecture_shows_every_folder_of_code() -> None:
    folders = {file.parent for top in ("gaia", "scripts") for file in (ROOT / top).rglob("*.py")}
    paths = {str(folder.relative_to(ROOT)) for folder in folders}
    shown = _mapped()

    missing = {
        path for path in paths if path not in shown and not any(one.startswith(path + "/") for one in shown)
    }

    assert len(shown) > 30
    assert not missing, "show each of these in docs/explanation/architecture.md"
