"""The tournament holds its bars, tells the rules apart, and is the same each time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gaia.localnet.tournament import __main__ as tournament
from gaia.localnet.tournament.__main__ import Plan, play_seed, report_of, table
from gaia.localnet.tournament.edges import EDGES, earnings
from gaia.localnet.tournament.edges import table as edge_table
from gaia.localnet.tournament.players import Kind, catalogue
from tests.support.repository import ROOT

DOCUMENT = ROOT / "docs" / "explanation" / "scoring.md"
Earned = dict[str, dict[str, tuple[float, float]]]
SMALL = Plan(
    rule_set="gaia-next",
    honest=24,
    seeds=1,
    runs=15,
    sybils=(20,),
    noises=(0.0, 0.3),
    mixed=(0.4,),
    ruined=(0.05,),
)


@pytest.fixture(scope="module")
def report() -> dict[str, object]:
    return report_of(SMALL, [play_seed(SMALL, 3)])


@pytest.fixture(scope="module")
def earned() -> Earned:
    return earnings()


def test_the_three_bars_hold_under_gaia_next(report: dict[str, object]) -> None:
    bars = report["bars"]

    assert isinstance(bars, dict)
    assert {name: bar["holds"] for name, bar in bars.items()} == dict.fromkeys(bars, True)
    assert bars.keys() == {"correlation", "sybils", "no_skill"}


def test_the_catalogue_is_long_enough_and_of_every_kind() -> None:
    names = [strategy.name for strategy in catalogue()]

    assert len(set(names)) == len(names) >= 25
    assert {strategy.kind for strategy in catalogue()} == set(Kind)


def test_the_table_says_what_each_earned_and_whether_the_bars_hold(report: dict[str, object]) -> None:
    lines = list(table(report))

    assert all(any(line.startswith(one.name) for line in lines) for one in catalogue())
    assert sum(line.endswith(": holds") for line in lines) == 3


def test_the_live_networks_rules_pay_many_uids_of_one_model_and_the_truth_with_an_offset() -> None:
    plan = replace(SMALL, rule_set="gaia-2.9")

    played = report_of(plan, [play_seed(plan, 3)])

    assert not played["bars"]["sybils"]["holds"]
    assert played["bars"]["no_skill"]["by"] == "truth + 5 K"


def test_the_numbers_of_the_document_are_those_of_the_command(earned: Earned) -> None:
    text = DOCUMENT.read_text()
    written = text.split("tournament.edges -->")[1].split("<!-- end")[0].strip().splitlines()

    printed = list(edge_table(earned))
    assert len(written) == len(printed)
    for theirs, ours in zip(written, printed, strict=True):
        assert [cell.strip() for cell in theirs.split("|")][:2] == [cell.strip() for cell in ours.split("|")][
            :2
        ]
        assert _numbers(theirs) == pytest.approx(_numbers(ours), abs=0.015, rel=0.001)


def test_under_gaia_next_no_edge_earns_more_than_persistence(earned: Earned) -> None:
    pay = {name: of[1] for name, of in earned["gaia-next"].items() if name in EDGES[1:]}

    assert pay == dict.fromkeys(EDGES[1:], pay["persistence"])


def test_missed_bars_fail_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], report: dict[str, object]
) -> None:
    monkeypatch.setattr(tournament, "play", lambda _: report)
    assert tournament.main(["--quick"]) == 0

    monkeypatch.setattr(tournament, "play", lambda _: report | {"bars": {"sybils": {"holds": False}}})
    assert tournament.main(["--json"]) == 1
    assert '"rule_set": "gaia-next"' in capsys.readouterr().out


def _numbers(line: str) -> list[float]:
    cells = [cell.strip() for cell in line.split("|")[2:-1]]
    return [float(cell) for cell in cells if cell.lstrip("-").replace(".", "").isdigit()]
