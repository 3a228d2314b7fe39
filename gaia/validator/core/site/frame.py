"""Frame of the pages and their common parts: head, navigation, tables, times, states, links."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gaia.validator.core.site.look import CSS, POLICY
from gaia.validator.core.site.markup import Child, Markup, document, element, joined, style_sheet
from gaia.validator.core.site.model import FinalScore, Front, OpenScore
from gaia.validator.core.site.plain_text import visible

_PLAIN: Final = re.compile(r"[A-Za-z0-9-]{1,80}")
NONE: Final = "\u2013"
"""Shown where there is no value."""


@dataclass(frozen=True, slots=True)
class Place:
    """Place of one page in the site."""

    path: str
    """Path from the folder of the site."""
    title: str
    json: str
    """Path of the file with the page's data."""

    def to(self, path: str) -> str:
        """Return the relative address of another file of the site."""
        return "../" * self.path.count("/") + path


def slug(name: str) -> str:
    """Return a name as part of a file's name; one with other characters than letters, digits, - is hashed.

    >>> slug("2026-03-25T00Z"), slug("../x")[:9]
    ('2026-03-25T00Z', 'x-d6b96a9')
    """
    return name if _PLAIN.fullmatch(name) else "x-" + hashlib.sha256(name.encode()).hexdigest()[:32]


def run_path(run_id: str) -> str:
    """Return the path of a run's page."""
    return f"runs/{slug(run_id)}.html"


def miner_path(hotkey: str) -> str:
    """Return the path of a miner's page."""
    return f"miners/{slug(hotkey)}.html"


def json_path(path: str) -> str:
    """Return the path of a page's data.

    >>> json_path("runs/2026-03-25T00Z.html")
    'data/runs/2026-03-25T00Z.json'
    """
    return f"data/{path.removesuffix('.html')}.json"


def page(place: Place, front: Front, base_url: str, *content: Child) -> bytes:
    """Return a whole page; `base_url` is "" if the address of the site is not known."""
    links = (("index.html", "Overview"), ("leaderboard.html", "Leaderboard"))
    subnet = "" if front.netuid is None else f", subnet {front.netuid}"
    name = f"Gaia validator{subnet}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name_="referrer", content="no-referrer"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{place.title} \u00b7 {name}"),
        element("link", rel="canonical", href=f"{base_url}/{place.path}") if base_url else None,
        style_sheet(CSS),
    )
    navigation = element(
        "nav",
        element(
            "ul",
            [
                element(
                    "li",
                    element(
                        "a",
                        text,
                        href=place.to(path),
                        aria_current="page" if path == place.path else None,
                    ),
                )
                for path, text in links
            ],
        ),
        aria_label="Pages",
    )
    body = element(
        "body",
        element("a", "Skip to the content", class_="skip", href="#content"),
        element("header", element("p", name), navigation),
        element("main", element("h1", visible(place.title)), *content, id="content"),
        element(
            "footer",
            element("p", "Data of ", moment(front.now), _clock(front), f", version {front.version}. "),
            element("p", element("a", "The data of this page as JSON", href=place.to(place.json))),
        ),
    )
    return document(element("html", head, body, lang="en"))


def preparing() -> bytes:
    """Return a page for the seconds before the first reading."""
    title = "The pages are being prepared"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        style_sheet(CSS),
    )
    text = element("p", "The database is being read. Reload this page in a few seconds.")
    body = element("body", element("main", element("h1", title), text))
    return document(element("html", head, body, lang="en"))


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Child]],
    empty: str = "None yet.",
    *,
    is_stacked: bool = False,
) -> Markup:
    """Return a table whose first column names the row, or a sentence if there are no rows.

    A title that begins with ">" aligns its column to the right; "~" makes it a column of sentences.
    On a narrow screen the cells of a row stand below each other if `is_stacked`; else the table scrolls.
    """
    kinds = [{">": "number", "~": "text"}.get(column[:1]) for column in columns]
    titles = [column.lstrip(">~") for column in columns]
    lines = [
        element(
            "tr",
            [
                element(
                    "td" if place else "th",
                    cell,
                    class_=kinds[place],
                    scope=None if place else "row",
                    data_title=titles[place] if is_stacked else None,
                )
                for place, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    if not lines:
        return element("p", f"{caption}: {empty}", class_="lead")
    heads = [
        element("th", title, scope="col", class_=kind) for title, kind in zip(titles, kinds, strict=True)
    ]
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", heads)),
        element("tbody", lines),
        class_="stacked" if is_stacked else None,
    )
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Return a list of names and values."""
    return element(
        "dl",
        [element("div", element("dt", name), element("dd", value)) for name, value in pairs],
        class_="facts",
    )


def note(kind: str, *content: Child) -> Markup:
    """Return a paragraph that stands out; `kind` is `open`, `degraded`, `stuck` or `notice`."""
    return element("p", *content, class_=f"note {kind}")


def moment(time: datetime | None) -> Markup:
    """Return a time in UTC."""
    if time is None:
        return joined(NONE)
    return element("time", f"{time:%Y-%m-%d %H:%M}Z", datetime=f"{time:%Y-%m-%dT%H:%M:%S}Z")


def state(word: str) -> Markup:
    """Return the word of a state, which also has a colour."""
    return element("span", word.replace("_", " "), class_=f"state {word}")


def miner_link(place: Place, hotkey: str, *, is_short: bool = True) -> Markup:
    """Return a link to a miner's page."""
    shown = visible(hotkey)
    text = f"{shown[:8]}\u2026{shown[-4:]}" if is_short and len(shown) > 14 else shown
    return element("a", element("bdi", text), href=place.to(miner_path(hotkey)), class_="key")


def run_link(place: Place, run_id: str, known: frozenset[str]) -> Markup:
    """Return a link to a run's page, or its id alone if it has none."""
    if run_id not in known:
        return joined(visible(run_id))
    return element("a", visible(run_id), href=place.to(run_path(run_id)))


def number(value: float | None, digits: int = 4) -> str:
    """Return a number as text.

    >>> number(-0.12345), number(None)
    ('\u22120.1235', '\u2013')
    """
    return NONE if value is None else f"{value:.{digits}f}".replace("-", "\u2212")


def score_cell(score: FinalScore | OpenScore | None) -> Child:
    """Return an overall score; an open run has none, and the cell says so."""
    match score:
        case FinalScore():
            return number(score.overall) + ("" if score.is_counted else " (not counted)")
        case OpenScore():
            wanted = "" if score.leads_wanted is None else f" of {score.leads_wanted}"
            return element("span", f"open: {score.leads_scored}{wanted} leads", class_="state open")
        case None:
            return NONE


def _clock(front: Front) -> str:
    return " (simulated)" if front.is_simulated else ""
