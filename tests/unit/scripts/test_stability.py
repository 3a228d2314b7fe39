"""What operators may build on stays; a release says how urgent it is for whom."""

from __future__ import annotations

import copy

import pytest
from generate import stability

from tests.support.repository import ROOT

PRIORITIES = {"high", "medium", "low", "none"}


def test_names_and_page_are_those_of_this_version() -> None:
    now = stability.names_now()

    assert list(stability.broken_promises(stability.stored(), now)) == []
    assert stability.stored() == now, "run scripts/generate/stability.py"
    assert stability.PAGE.read_text() == stability.render(now), "run scripts/generate/stability.py"


@pytest.mark.parametrize("kind", stability.KINDS)
def test_name_that_goes_is_noticed_and_nothing_is_written(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    less = copy.deepcopy(stability.names_now())
    name = min(less[kind])
    del less[kind][name]
    monkeypatch.setattr(stability, "names_now", lambda: less)
    before = stability.NAMES.read_text(), stability.PAGE.read_text()

    assert stability.main() == 1

    assert capsys.readouterr().err == f"{kind}: {name} is gone; see docs/reference/stability.md.\n"
    assert (stability.NAMES.read_text(), stability.PAGE.read_text()) == before


def test_metric_with_another_label_is_noticed_and_a_new_name_is_not() -> None:
    now = {"metrics": {"gaia_a_total": "counter by role", "gaia_b": "gauge"}}

    (sentence,) = stability.broken_promises({"metrics": {"gaia_a_total": "counter by child"}}, now)

    assert sentence == "metrics: gaia_a_total was counter by child and is counter by role"


def test_each_release_says_how_urgent_it_is_for_each_kind_of_user() -> None:
    releases = (ROOT / "CHANGELOG.md").read_text().split("\n## [")[1:]

    for release in releases:
        table = release.partition("### Update priority\n")[2].partition("\n###")[0]
        rows = [
            [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "|" in line
        ]
        assert rows[0] == ["you run", "priority", "because"], release.splitlines()[0]
        assert len(rows) == 2 + 4
        assert {row[1] for row in rows[2:]} <= PRIORITIES
        assert all(row[2] for row in rows[2:])
