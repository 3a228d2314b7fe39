"""The whole subnet, from schedule to weights: calm, under kill -9, and resumed."""

import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from pydantic import SecretStr

from gaia.localnet.options import Options, data_dir
from gaia.localnet.subnet import LocalSubnet
from gaia.localnet.view.watch import Progress
from gaia.tasks.defined_tasks.weather.forecasts.score_book import Lead, ScoreBook
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.unit_client import Done
from gaia.tasks.defined_tasks.weather.units import ScoreDay1
from gaia.validator.db import queries
from gaia.validator.db.connection import Database
from gaia.validator.db.inputs import LeadInputs
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.config import Settings
from gaia.validator.utils.identities import Hotkey, JobId, RunId
from gaia.validator.utils.ipc_types import WorkUnit
from tests.support.forecast_stores import a_field, a_store, reference_files
from tests.support.gribs import INIT_TIME
from tests.support.patience import Deadline, patience
from tests.support.rehearsal import board_of, kill, processes_of, scores_of, steps_done, until
from tests.support.repository import ROOT
from tests.support.stack import engine_with_a_worker

BREAKERS = {"swap", "nan", "refuse", "dead", "slow"}
# Answers, freezes and scored leads of the default population, from first to last.
STEPS = 90
Calm = tuple[dict[str, Any], Path]


def is_settled(progress: Progress) -> bool:
    return progress.is_complete(1)


def has_done(steps: int) -> Callable[[Progress], bool]:
    return lambda progress: steps_done(progress) >= steps


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    """The report of an undisturbed run by the command line, and its state folder.

    Every proxy that the environment names is one that nobody serves: nothing here needs one.
    """
    state_dir = tmp_path_factory.mktemp("calm") / ".localnet" / "20260325-000000"
    dead = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https", "all")}
    done = subprocess.run(
        [sys.executable, "-m", "gaia.localnet", "--once", "--json", "--seed", "7", "--state", state_dir],
        cwd=ROOT,
        env={**os.environ, **dead, **{name.upper(): proxy for name, proxy in dead.items()}},
        capture_output=True,
        text=True,
        timeout=patience(240),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), state_dir


def by_behaviour(report: dict[str, Any], behaviour: str) -> list[dict[str, Any]]:
    return [miner for miner in report["miners"] if miner["behaviour"] == behaviour]


def test_honest_miners_are_paid_in_the_order_of_their_skill(calm: Calm) -> None:
    report, _ = calm
    honest = sorted(by_behaviour(report, "honest"), key=lambda miner: miner["skill"])

    weights = [miner["weight"] for miner in honest]

    assert len(honest) == 4
    assert weights == sorted(weights, reverse=True)
    assert len(set(weights)) == 4
    assert all(len(miner["leads"]) == 10 for miner in honest)


@pytest.mark.parametrize("behaviour", sorted(BREAKERS))
def test_whoever_breaks_the_rules_earns_nothing(calm: Calm, behaviour: str) -> None:
    (miner,) = by_behaviour(calm[0], behaviour)

    assert (miner["verdict"], miner["overall"], miner["weight"]) == ("rejected", 0.0, 0.0)
    assert miner["reason"]


def test_every_behaviour_takes_part(calm: Calm) -> None:
    behaviours = {miner["behaviour"] for miner in calm[0]["miners"]}

    assert behaviours == BREAKERS | {"honest", "persistence", "gfs_clone", "copy"}
    assert len(calm[0]["miners"]) >= 12


def test_copy_earns_no_more_than_its_original(calm: Calm) -> None:
    (copy,) = by_behaviour(calm[0], "copy")
    originals = [m for m in by_behaviour(calm[0], "honest") if m["overall"] == copy["overall"]]

    assert copy["weight"] == originals[0]["weight"]


def test_weights_of_the_table_are_those_read_back_from_the_chain(calm: Calm) -> None:
    report, _ = calm
    vector = dict(map(tuple, report["chain"]["vector"]))
    total = sum(vector.values())

    paid = {miner["uid"]: miner["weight"] for miner in report["miners"] if miner["weight"] > 0}

    assert paid == pytest.approx({uid: vector[uid] / total for uid in paid}, rel=1e-12)
    assert 1.0 - sum(paid.values()) == pytest.approx(0.75, abs=1e-4)
    assert report["chain"]["block"] > 0


def test_control_script_that_shares_no_code_finds_the_same_scores_and_weights(calm: Calm) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "control_scores.py", calm[1]],
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(240),
    )

    assert done.returncode == 0, done.stdout + done.stderr


async def test_score_goes_from_a_frozen_forecast_through_the_engine_to_the_score_table(
    empty_dsn: str, tmp_path: Path
) -> None:
    settings = Settings(
        data_dir=tmp_path / "data",
        database_url=SecretStr(empty_dsn),
        grid_degrees="1.0",
        day1_fields=["2t"],
        day1_lead_hours=[12],
        final_lead_hours=[24],
    )
    hotkey, opened_at = Hotkey("5Miner"), INIT_TIME + timedelta(hours=18)
    run_id = RunId("2026-03-25T00Z")
    truth = a_field()
    payload = a_store(tmp_path / "store", {"2t": truth + 1.0}) | {
        "truth": reference_files(tmp_path / "truth", {"2t": truth}),
        "baseline": reference_files(tmp_path / "baseline", {"2t": truth + 2.0}),
        "climatology": reference_files(tmp_path / "climatology", {"2t": a_field(1)}),
    }

    async with engine_with_a_worker(settings) as engine:
        connection = await asyncpg.connect(empty_dsn)
        await connection.execute(
            "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ($1, $2, $3, $4)",
            *(run_id, INIT_TIME, settings.rule_set, opened_at),
        )
        await connection.execute(
            "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at, state, manifest)"
            " VALUES ($1, $2, $3, 0, $4, $4, $4, 'frozen', $5)",
            *(run_id, hotkey, 1, opened_at, b"{}"),
        )
        result = await engine.dispatch_and_wait(
            WorkUnit(
                job_id=JobId(f"{run_id}/day1"),
                handler=ScoreDay1.handler,
                payload=payload,
                deadline_at=time.time() + patience(60),
            )
        )
        assert result.failure is None
        answer = msgspec.convert(result.value, ScoreDay1.answer)
        assert [component.field for component in answer.components] == ["2t"]
        assert answer.components[0].rmse == pytest.approx(1.0, rel=1e-5)
        database = await Database.connect(empty_dsn, timeout_s=patience(10), pool_size=1)
        async with database.transaction() as transaction:
            (forecast,) = await queries.due_forecasts(transaction, run_id, [ForecastState.FROZEN], opened_at)
        book = ScoreBook(settings.weights, settings.contract, database)
        digest = hashlib.sha256(Path(payload["truth"]["2t"]).read_bytes()).hexdigest()
        inputs = LeadInputs(handler=ScoreDay1.handler, payload={}, digests={"truth": {"2t": digest}})
        done = Done(answer, result.cpu_s, result.job_id)
        await book.record(forecast, Lead(LeadKind.DAY1, 12), done, inputs, opened_at)
        await database.close()
        row = await connection.fetchrow("SELECT * FROM score_table")
        state = await connection.fetchval("SELECT state FROM forecasts")
        await connection.close()

    assert state == "scored_day1"
    assert row is not None
    assert (row["run_id"], row["hotkey"]) == (run_id, hotkey)
    assert 0.0 < row["day1"] <= 1.0


async def test_killed_engine_workers_signer_and_database_change_no_score(calm: Calm, tmp_path: Path) -> None:
    chance = random.Random(11)
    moments = {
        role: chance.randrange(5, STEPS)
        for role in ("io_engine", "chain_signer", "postgres", "compute_worker")
    }
    seen = set()

    async with LocalSubnet(tmp_path / "state", Options(seed=7)) as subnet:
        await subnet.start()
        for role in sorted(moments, key=moments.__getitem__):
            await until(subnet, has_done(moments[role]))
            board = board_of(subnet)
            victims = list(board.workers.values()) if role == "compute_worker" else [board.processes[role]]
            for pid in victims:
                kill(pid)
                seen.add(role)
        progress = await until(subnet, is_settled)
        report = await subnet.report(progress, {})

    assert seen == set(moments)
    assert scores_of(report) == scores_of(calm[0])


async def test_killed_supervisor_leaves_nothing_behind_and_the_next_start_resumes(
    calm: Calm, tmp_path: Path
) -> None:
    state_dir = tmp_path / "state"

    async with LocalSubnet(state_dir, Options(seed=7)) as subnet:
        await subnet.start()
        halfway = await until(subnet, lambda progress: steps_done(progress) >= STEPS // 2)
        assert len(processes_of(state_dir)) >= 5
        assert subnet.validator is not None
        assert subnet.validator.pid is not None
        kill(subnet.validator.pid)
        deadline = Deadline(5.0)
        while processes_of(state_dir):
            assert not deadline.has_passed, processes_of(state_dir)
            await asyncio.sleep(0.05)

        assert not subnet.validator.is_running
        subnet.start_validator()
        progress = await until(subnet, is_settled)
        report = await subnet.report(progress, {})

    assert steps_done(progress) >= steps_done(halfway)
    assert scores_of(report) == scores_of(calm[0])
    assert not processes_of(state_dir)
    assert data_dir(state_dir).exists()
