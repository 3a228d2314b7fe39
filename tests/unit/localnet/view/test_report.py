"""The objects that programs read after a local subnet has run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gaia.localnet.options import Options, validator_settings
from gaia.localnet.population import population
from gaia.localnet.view.report import Outcome, report_of, shares, summary_of
from gaia.localnet.view.watch import Progress
from tests.support.localnet import ADDRESSES, RUN_ID, a_finished_run, a_forecast

OutcomeOf = Callable[..., Outcome]

HOTKEYS = ("5Miner", "5Other")


@pytest.fixture
def outcome_of(tmp_path: Path) -> OutcomeOf:
    def build(progress: Progress, vector: tuple[tuple[int, int], ...] = ((1, 65535), (9, 65535))) -> Outcome:
        settings = validator_settings(tmp_path, Options(), ADDRESSES)
        return Outcome(
            contract=settings.contract,
            weights=settings.weights,
            specs=dict(zip(HOTKEYS, population(2), strict=True)),
            uids={"5Miner": 1, "5Other": 2, "5Owner": 9},
            progress=progress,
            chain_vector=vector,
            metagraph={"block": 120, "neurons": []},
            seconds={"ask": 1.23456, "total": 2.0},
            seed=4,
        )

    return build


def test_report_tells_of_every_miner_and_of_the_chain(outcome_of: OutcomeOf) -> None:
    report = report_of(outcome_of(a_finished_run()))

    first, second = report["miners"]
    assert report["run_ids"] == [RUN_ID]
    assert first == {
        "hotkey": "5Miner",
        "uid": 1,
        "behaviour": "honest",
        "skill": 0.55,
        "day1": 0.4,
        "leads": {"24": 0.5},
        "overall": 0.6,
        "verdict": "scored",
        "reason": "",
        "weight": 0.5,
    }
    assert (second["verdict"], second["overall"], second["weight"]) == ("absent", None, 0.0)
    assert report["chain"] == {
        "block": 99,
        "block_hash": "0xab",
        "extrinsic": "99-1",
        "vector": [[1, 65535], [9, 65535]],
    }
    assert report["seconds"] == {"ask": 1.235, "total": 2.0}
    json.dumps(report)


def test_report_ranks_by_weight_then_score_then_uid(outcome_of: OutcomeOf) -> None:
    forecasts = (
        a_forecast("5Miner", 1, state="rejected", reason="refused"),
        a_forecast("5Other", 2, state="scored", overall=0.3),
    )

    rows = report_of(outcome_of(a_finished_run(forecasts=forecasts), vector=()))["miners"]

    assert [row["hotkey"] for row in rows] == ["5Other", "5Miner"]
    assert rows[1]["reason"] == "refused"


def test_report_without_weights_says_so_with_nothing_made_up(outcome_of: OutcomeOf) -> None:
    report = report_of(outcome_of(Progress(), vector=()))

    assert report["chain"] == {"block": None, "block_hash": None, "extrinsic": None, "vector": []}
    assert all(row["verdict"] == "absent" for row in report["miners"])


def test_summary_holds_what_an_independent_program_needs(outcome_of: OutcomeOf) -> None:
    component = {"run_id": RUN_ID, "hotkey": "5Miner", "kind": "day1", "field": "2t", "rmse": 1.0}

    summary = summary_of(outcome_of(a_finished_run()), [component])

    assert summary["components"] == [component]
    assert summary["scores"][0]["overall"] == 0.6
    assert summary["settings"]["burn_fraction"] == 0.75
    assert summary["settings"]["forecast_step_hours"] == 6
    assert summary["day1_fields"] == ["2t", "10u", "10v", "msl"]
    assert summary["final_leads"] == list(range(24, 241, 24))
    assert summary["weights"] == {"5Miner": 0.5, "5Owner": 0.5}
    assert summary["vector"] == [[1, 65535], [9, 65535]]
    assert summary["weighed_run_ids"] == [RUN_ID]
    json.dumps(summary)


def test_shares_of_a_vector_add_up_to_one() -> None:
    assert shares([(0, 1), (5, 3)]) == {0: 0.25, 5: 0.75}


def test_shares_of_nothing_are_nothing() -> None:
    assert shares([]) == {}
    assert shares([(3, 0)]) == {}
