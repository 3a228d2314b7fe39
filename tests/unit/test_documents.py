"""Pages outside the site have no broken link either, and the index of decisions is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.repository import ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
DECISIONS = ROOT / "docs" / "decisions"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / ".github").rglob("*.md"), *(ROOT / "docs").rglob("*.md")])


def _headings(page: Path) -> set[str]:
    """Return the anchors of a page: its headings in small letters, blanks as hyphens, other signs left out."""
    titles = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _broken(page: Path, link: str) -> bool:
    target, _, anchor = link.partition("#")
    file = (page.parent / target).resolve() if target else page
    return not file.exists() or bool(anchor and anchor not in _headings(file))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(CODE.sub("", page.read_text()))

    assert [link for link in links if "://" not in link and _broken(page, link)] == []


def test_decisions_are_numbered_without_a_gap() -> None:
    records = sorted(DECISIONS.glob("[0-9]*.md"))

    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    assert [record.read_text().split(". ")[0] for record in records] == [
        f"# {number}" for number in range(1, len(records) + 1)
    ]


def test_index_names_each_decision_as_it_names_itself() -> None:
    records = sorted(DECISIONS.glob("[0-9]*.md"))
    titles = {record.name: record.read_text().split("\n")[0].removeprefix("# ") for record in records}

    listed = re.findall(r"^- \[(.+)\]\((.+)\)$", (DECISIONS / "README.md").read_text(), re.MULTILINE)

    assert {file: title for title, file in listed} == titles


def test_navigation_of_the_site_is_complete() -> None:
    """The build fails too; this says which line is missing without the build."""
    named = set(re.findall(r"^ +- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}

    assert pages == named
