"""The pages: whole, closed to the outside, readable by anybody, and safe from strangers' text."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from typing import Any

import pytest

from gaia.validator.core.site.look import CSS, POLICY
from gaia.validator.core.site.markup import element, style_sheet
from gaia.validator.core.site.model import Site
from gaia.validator.core.site.pages import files_of
from gaia.validator.db.rows import IncidentRow
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.identities import Hotkey, RunId
from tests.support.site_pages import Page, read
from tests.support.site_rows import (
    FIRST,
    MINERS,
    a_site,
    a_week,
    completed_only,
    day_run,
    forecast,
    lead,
    open_run,
    published,
    score,
)
from tests.support.status_facts import a_chain, some_processes, some_work

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\x1b[31m'


def hostile_site(*, for_operator: bool = False) -> Site:
    """Return a site in which every text of a stranger is markup."""
    run = open_run(0, run_id=RunId(HOSTILE))
    one = forecast(run, 0, hotkey=Hotkey(HOSTILE), state=ForecastState.REJECTED, reason=HOSTILE)
    incident = IncidentRow(party="chain", began_at=FIRST, last_at=FIRST, evidence=HOSTILE)
    stored = published([run], [one], leads=[lead(one, 24, 0.0, reason=HOSTILE)])
    return a_site(
        stored, for_operator=for_operator, work=some_work(incidents=[incident]), database_error=HOSTILE
    )


def all_rejected() -> Site:
    run = day_run(0)
    rows = [
        forecast(run, number, state=ForecastState.REJECTED, reason="manifest signature is not the miner's")
        for number in range(3)
    ]
    return a_site(published([run], rows, [score(row, 0.0) for row in rows]))


SITES: dict[str, Callable[[], Site]] = {
    "week": a_site,
    "operator": lambda: a_site(for_operator=True),
    "no run": lambda: a_site(published([])),
    "no run, operator": lambda: a_site(
        published([]), for_operator=True, work=None, database_error="it is away"
    ),
    "opened": lambda: a_site(published([open_run(0)])),
    "first open": lambda: a_site(published([open_run(0)], [forecast(open_run(0), 0)])),
    "one run": lambda: a_site(
        published([day_run(0)], [forecast(day_run(0), 0)], [score(forecast(day_run(0), 0), 0.5)])
    ),
    "all rejected": all_rejected,
    "hostile": hostile_site,
    "hostile, operator": lambda: hostile_site(for_operator=True),
}


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest) -> Site:
    return SITES[request.param]()


def pages_of(site: Site) -> dict[str, Page]:
    return {path: read(content) for path, content in files_of(site) if path.endswith(".html")}


def test_every_link_leads_to_a_file_of_the_site(site: Site) -> None:
    files = dict(files_of(site))

    for path, page in pages_of(site).items():
        for link in page.links:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
            assert link == "#content" or target in files, (path, link)


def test_every_page_is_reached_from_the_first_one(site: Site) -> None:
    pages, reached, waiting = pages_of(site), set(), ["index.html"]
    while waiting:
        path = waiting.pop()
        if path in pages and path not in reached:
            reached.add(path)
            folder = posixpath.dirname(path)
            waiting += [posixpath.normpath(posixpath.join(folder, link)) for link in pages[path].links]

    assert reached == set(pages)


def test_nothing_comes_from_elsewhere_and_nothing_runs(site: Site) -> None:
    for content in pages_of(site).values():
        assert not {"script", "iframe", "object", "form"} & set(content.tags)
        names = {name for name, _ in content.attributes}
        assert not any(name.startswith("on") or name == "style" for name in names)
        for name, value in content.attributes:
            if name in ("href", "src"):
                assert "://" not in (value or "")
                assert not (value or "").startswith("//")
    assert "url(" not in CSS
    assert "@import" not in CSS


def test_every_page_has_a_strict_policy_that_allows_its_own_style(site: Site) -> None:
    assert POLICY.startswith("default-src 'none'; style-src 'sha256-")
    for path, content in files_of(site):
        if path.endswith(".html"):
            assert (
                str(element("meta", http_equiv="Content-Security-Policy", content=POLICY)).encode() in content
            )
            assert str(style_sheet(CSS)).encode() in content


def test_every_table_has_heads_and_every_page_its_landmarks(site: Site) -> None:
    for page in pages_of(site).values():
        assert page.headed == page.tables
        for tag in ("header", "nav", "main", "footer", "h1", "title"):
            assert page.tags.count(tag) == 1, tag
        assert ("lang", "en") in page.attributes
        assert not re.search(r"nan|None|\bMarkup\b", page.text)


def test_text_of_strangers_is_text() -> None:
    for operator in (False, True):
        pages = pages_of(hostile_site(for_operator=operator))
        joined = " ".join(page.text for page in pages.values())
        assert "<script>alert(1)</script>" in joined
        assert "img" not in {tag for page in pages.values() for tag in page.tags}
        assert "\x1b" not in joined
        assert "\u202e" not in joined
        assert all(re.fullmatch(r"[a-z]+(/x-[0-9a-f]{32})?\.html", path) for path in pages)


def test_open_run_is_marked_and_no_partial_score_is_written() -> None:
    run = open_run(0)
    one = forecast(run, 0)
    site = a_site(published([run], [one], [score(one, 0.123456)], leads=[lead(one, 24, 0.8)]))

    files = dict(files_of(site))

    assert not any(b"0.1234" in content or b"0.1235" in content for content in files.values())
    assert "open: 1 of 2 leads" in read(files[f"runs/{run.run_id}.html"]).text
    assert "No run is completed with scores yet" in read(files["leaderboard.html"]).text


def test_drawn_lines_end_where_open_runs_begin() -> None:
    pages = dict(files_of(a_site()))
    completed = dict(files_of(a_site(completed_only(a_week()))))
    drawn = re.compile(rb'<path d="([^"]*)" class="line s1"')
    for path in ("leaderboard.html", f"miners/{MINERS[0]}.html"):
        with_open, without = drawn.findall(pages[path]), drawn.findall(completed[path])
        assert [line.count(b"L") for line in with_open] == [line.count(b"L") for line in without] == [4]
        assert b"open: not final" in pages[path]
        assert b"open: not final" not in completed[path]


def test_rejected_miner_reads_why() -> None:
    pages = pages_of(all_rejected())

    assert "manifest signature is not the miner's" in pages[f"miners/{MINERS[0]}.html"].text
    assert "Every forecast of this run was rejected" in pages["runs/2026-03-01T00Z.html"].text


def test_states_without_data_are_said_in_words() -> None:
    index = pages_of(a_site(published([])))["index.html"].text

    assert "no run has opened yet" in index
    assert "no weights were computed yet" in index


def test_operator_alone_sees_what_is_wrong() -> None:
    facts: dict[str, Any] = {
        "processes": some_processes(living={"io_engine": 1}),
        "work": None,
        "database_error": "it is away",
    }

    public = pages_of(a_site(**facts))["index.html"].text
    own = pages_of(a_site(for_operator=True, **facts))["index.html"].text

    assert "stuck" in public
    assert "ValidatorProcessDown" in public
    assert "gaia runbook" not in public
    assert "it is away" not in public
    assert "gaia runbook ValidatorProcessDown" in own
    assert "The database could not be read: it is away" in own


def test_address_of_the_site_is_named_only_if_it_is_known() -> None:
    known = dict(files_of(a_site(), "https://example.org/gaia"))

    assert read(known["leaderboard.html"]).links[0] == "https://example.org/gaia/leaderboard.html"
    assert not any(b"canonical" in content for _, content in files_of(a_site()))


def test_same_data_give_the_same_bytes() -> None:
    assert dict(files_of(a_site())) == dict(files_of(a_site()))


def test_data_behind_a_page_are_json() -> None:
    files = dict(files_of(a_site()))

    board = json.loads(files["data/leaderboard.json"])
    run = json.loads(files["data/runs/2026-03-07T00Z.json"])

    assert [row["rank"] for row in board["miners"]] == list(range(1, 8))
    assert run["outcomes"][0]["score"] == {
        "kind": "open",
        "run_id": "2026-03-07T00Z",
        "day1": 0.4,
        "leads_scored": 1,
        "leads_wanted": 2,
    }
    assert json.loads(files["data/index.json"])["operator"] is None


def test_element_with_a_strange_name_or_sheet_is_refused() -> None:
    with pytest.raises(ValueError, match="is no name"):
        element("a b")
    with pytest.raises(ValueError, match="must not hold"):
        style_sheet("</style>")


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.1."""
    if len(colour) == 4:
        colour = "#" + "".join(2 * char for char in colour[1:])
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_have_enough_contrast(theme: int) -> None:
    given = [dict(re.findall(r"--([a-z0-9]+):(#[0-9a-f]+)", part)) for part in CSS.split("@media")]
    colours = given[theme]
    least = dict.fromkeys(("ink", "grey", "link", "good", "warn", "bad"), 4.5)
    least |= dict.fromkeys(("c1", "c2", "c3", "c4", "c5"), 3.0)

    for ground in ("paper", "panel"):
        for name, wanted in least.items():
            low, high = sorted((luminance(colours[ground]), luminance(colours[name])))
            assert (high + 0.05) / (low + 0.05) >= wanted, (name, ground)


@pytest.mark.parametrize("for_operator", [True, False])
def test_database_that_does_not_answer_is_not_taken_for_an_empty_one(*, for_operator: bool) -> None:
    site = a_site(published([]), for_operator=for_operator, work=None, database_error="it is away")

    text = read(dict(files_of(site))["index.html"]).text

    assert "The database could not be read" in text
    assert text.count("unknown") >= 7
    for claim in ("none is known", "never", "no set is missing", "no run", "no weights were computed"):
        assert claim not in text
    assert ("it is away" in text) == for_operator


def test_what_is_wrong_and_what_helps_stand_below_each_other_on_a_phone() -> None:
    page = dict(files_of(SITES["hostile, operator"]()))["index.html"].decode()

    stacked = page.partition('<table class="stacked">')[2].partition("</table>")[0]
    assert 'data-title="problem"' in stacked
    assert 'data-title="what helps"' in stacked
    assert "@media (max-width:34rem){.stacked" in page


def test_trust_of_the_last_epoch_is_for_everybody_and_that_of_the_next_for_the_operator() -> None:
    chain = a_chain(validator_trust=0.95, next_trust=0.75)

    public, own = [
        dict(files_of(a_site(for_operator=is_operator, chain=chain)))["index.html"]
        for is_operator in (False, True)
    ]

    assert "0.9500 in the last epoch, dividends 0.0123" in read(public).text
    assert "0.7500 in the next one, with the newest vector" in read(own).text
    assert b"0.7500" not in public


def test_trust_that_was_not_read_is_no_number() -> None:
    assert "not read yet" in read(dict(files_of(a_site()))["index.html"]).text
