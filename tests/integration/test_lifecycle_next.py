"""The whole subnet under gaia-next: skill is paid in its order, a copy is not paid again, and kill -9 changes nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gaia.cli.__main__ import main
from gaia.cli.source import open_source
from gaia.localnet.options import Options
from gaia.localnet.subnet import LocalSubnet
from gaia.localnet.view.watch import Progress
from gaia.validator.core.weights.inputs import NOTHING_FOUND, VectorInputs, from_parts, parts_named
from gaia.validator.db import history
from tests.support.patience import patience
from tests.support.rehearsal import board_of, kill, scores_of, until
from tests.support.repository import ROOT

BREAKERS = {"swap", "nan", "refuse", "dead", "slow"}
WITHOUT_BREAKERS = 7
"""So many miners of the population keep the rules, and come first in it."""
ROUNDING = 1e-4
"""A weight on chain is a whole number of 65535ths of the largest."""
Calm = tuple[dict[str, Any], Path]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    """The report of an undisturbed run, and its state folder."""
    state_dir = tmp_path_factory.mktemp("next") / "state"
    words = ["--once", "--json", "--seed", "7", "--rule-set", "gaia-next", "--state", str(state_dir)]
    done = subprocess.run(
        [sys.executable, "-m", "gaia.localnet", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(240),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), state_dir


@pytest.fixture(scope="module")
def inputs(calm: Calm) -> VectorInputs:
    """What the last vector was computed from, as the journal keeps it."""

    async def newest(connection: asyncpg.Connection[asyncpg.Record]) -> VectorInputs:
        row = (await history.vectors_of(connection, calm[0]["run_ids"]))[-1]
        assert row.inputs is not None
        parts = await history.weight_inputs(connection, parts_named(row.inputs))
        return from_parts(row.inputs, parts)

    with open_source(calm[1]) as source:
        return source.read(newest)


def leads_done(progress: Progress) -> int:
    return sum(len(forecast.leads) for forecast in progress.forecasts)


def has_done(leads: int) -> Callable[[Progress], bool]:
    return lambda progress: leads_done(progress) >= leads


def by_behaviour(report: dict[str, Any], behaviour: str) -> list[dict[str, Any]]:
    return [miner for miner in report["miners"] if miner["behaviour"] == behaviour]


def test_honest_miners_are_paid_in_the_order_of_their_skill_and_no_skill_is_not_paid(calm: Calm) -> None:
    honest = sorted(by_behaviour(calm[0], "honest"), key=lambda miner: miner["skill"])
    skilled = [miner for miner in honest if miner["overall"] > 0.05]

    weights = [miner["weight"] for miner in honest]

    assert weights == sorted(weights, reverse=True)
    assert len({miner["weight"] for miner in skilled}) == len(skilled) >= 2
    assert all((miner["weight"] > 0) == (miner in skilled) for miner in honest)
    assert [miner["weight"] for miner in by_behaviour(calm[0], "gfs_clone")] == [0.0]
    assert [miner["weight"] for miner in by_behaviour(calm[0], "persistence")] == [0.0]


def test_whoever_breaks_the_rules_earns_nothing(calm: Calm) -> None:
    breakers = [miner for kind in BREAKERS for miner in by_behaviour(calm[0], kind)]

    assert len(breakers) == len(BREAKERS)
    assert {(miner["verdict"], miner["weight"]) for miner in breakers} == {("rejected", 0.0)}


def test_original_and_copy_together_earn_what_the_original_would_alone(
    calm: Calm, inputs: VectorInputs
) -> None:
    (copy,) = by_behaviour(calm[0], "copy")
    original = next(m for m in by_behaviour(calm[0], "honest") if m["overall"] == copy["overall"])
    best = max(calm[0]["miners"], key=lambda miner: miner["weight"])
    runs = {
        run_id: {hotkey: entry for hotkey, entry in entries.items() if hotkey != copy["hotkey"]}
        for run_id, entries in inputs.runs.items()
    }
    alone = VectorInputs(terms=inputs.terms, present=inputs.present, runs=runs).weights()

    assert alone is not None
    together = (original["weight"] + copy["weight"]) / best["weight"]

    assert original["overall"] > 0
    assert together == pytest.approx(alone[original["uid"]] / alone[best["uid"]], abs=ROUNDING)
    assert copy["weight"] == 0.0


def test_without_the_overlaps_the_copy_would_be_paid(inputs: VectorInputs) -> None:
    twice = VectorInputs(
        terms=inputs.terms, present=inputs.present, runs=inputs.runs, found=NOTHING_FOUND
    ).weights()

    ((one, other, part),) = inputs.found.pairs

    assert part == 1.0
    assert twice is not None
    assert twice[inputs.present.uids[one]] == twice[inputs.present.uids[other]] > 0


def test_a_copy_is_told_whose_work_it_shares(calm: Calm, capsys: pytest.CaptureFixture[str]) -> None:
    (copy,) = by_behaviour(calm[0], "copy")
    original = next(m for m in by_behaviour(calm[0], "honest") if m["overall"] == copy["overall"])

    assert main(["explain", "last", copy["hotkey"], "--state", str(calm[1])]) == 0

    said = capsys.readouterr().out
    shared = rf"shares 1.00 of its work with {original['hotkey']}: committed in polling round (\d+), the other in (\d+)"
    found = re.search(shared, said)
    assert found is not None
    own, other = map(int, found.groups())
    assert own > other


def test_scores_and_vectors_replay_to_the_last_bit(calm: Calm, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["replay", "all", "--json", "--state", str(calm[1])])

    said = json.loads(capsys.readouterr().out)
    assert (code, said["differing"], said["weights"]["differing"]) == (0, 0, 0)
    assert said["weights"]["computed"] == said["weights"]["vectors"] > 0
    assert said["weights"]["notes"] == {}


async def test_an_engine_killed_between_sketches_and_weights_ends_in_the_same_pay(
    calm: Calm, tmp_path: Path
) -> None:
    state_dir = tmp_path / "state"
    options = Options(miners=WITHOUT_BREAKERS, seed=7, rule_set="gaia-next")

    async with LocalSubnet(state_dir, options) as subnet:
        await subnet.start()
        for leads in (10, 35, 60):
            await until(subnet, has_done(leads))
            kill(board_of(subnet).processes["io_engine"])
        progress = await until(subnet, lambda progress: progress.is_complete(1))
        report = await subnet.report(progress, {})

    undisturbed = {miner["hotkey"]: miner["weight"] for miner in calm[0]["miners"]}
    assert scores_of(report).items() <= scores_of(calm[0]).items()
    assert {m["hotkey"]: m["weight"] for m in report["miners"]} == {
        m["hotkey"]: undisturbed[m["hotkey"]] for m in report["miners"]
    }
    assert list((state_dir / "validator" / "sketches").rglob("*.f32")) == []
    assert len(list((state_dir / "validator" / "products").glob("*.f64"))) == 10
