"""The IO-Engine's metrics from real parts: a database with runs, this process as a Supervisor, a clock of its own."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.meeting.rendezvous import Board, metrics_page_path, publish
from gaia.validator.app.observation import observer, resources, stored
from gaia.validator.app.observation.exposition import exposition
from gaia.validator.app.observation.family import Accounts, Family
from gaia.validator.app.observation.jobs import JOBS
from gaia.validator.app.observation.metrics import all_metrics
from gaia.validator.app.observation.observer import Observer
from gaia.validator.core.background.book import JobStatus
from gaia.validator.core.chain.metagraph import MetagraphKeeper
from gaia.validator.core.consensus.watching import ConsensusWatch
from gaia.validator.core.incidents import Incident
from gaia.validator.db.connection import Database
from gaia.validator.utils.chain.consensus import ConsensusView, Prediction
from gaia.validator.utils.config import Settings
from gaia.validator.utils.signer_messages import NodeState
from tests.support.builders import a_consensus_view, a_metagraph, a_neuron
from tests.support.fakes import FakeClock
from tests.support.patience import patience

INIT = datetime(2026, 3, 25, tzinfo=UTC)
NOW = INIT + timedelta(days=8)
MOST_SERIES = 400
JOBS_OF_A_VALIDATOR = 17
LASTING_JOBS = 2
"""Jobs that may last longer than the time between two beats."""
LEADS = range(24, 264, 24)

SUPERVISORS_PAGE: ContextVar[Path] = ContextVar("supervisors_page")
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _exposition() -> Series:
    """Everything that is served, as Prometheus reads it."""
    text = all_metrics(SUPERVISORS_PAGE.get()).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _value(name: str, **labels: str) -> float:
    return _exposition()[name, frozenset(labels.items())]


async def _fill(database: Database, miners: int) -> None:
    """Store an open run a day for a week: day 1 and half of the leads are scored, the rest is awaited."""
    async with database.transaction() as connection:
        for day in range(7):
            run_id, opened_at = f"2026-03-{25 + day}T00Z", INIT + timedelta(days=day, hours=18)
            await connection.execute(
                "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ($1, $2, 'gaia-2.9', $3)",
                *(run_id, INIT + timedelta(days=day), opened_at),
            )
            await connection.execute(
                "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at, state,"
                " manifest) SELECT $1, '5Miner' || uid, uid, 0, $2, $2, $2, 'scored_day1', ''"
                " FROM generate_series(1, $3::int) AS uid",
                *(run_id, opened_at, miners),
            )
            await connection.execute(
                "INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, scored_at)"
                " SELECT $1, '5Miner' || uid, 'gaia-2.9', kind, lead, uid::float8 / $3, $2"
                " FROM generate_series(1, $3::int) AS uid,"
                " (VALUES ('day1', 12), ('final', 24), ('final', 48), ('final', 72), ('final', 96)) AS l (kind, lead)",
                *(run_id, opened_at, miners),
            )
        await connection.execute(
            "INSERT INTO reference_sets (reference_id, ready, fields)"
            " VALUES ('era5/2026-03-26T00Z/final', true, '{}'), ('era5/2026-03-27T00Z/final', false, NULL)"
        )


def _job(number: int) -> JobStatus:
    """Return a recurring job that has done its work."""
    return JobStatus(
        job=f"job{number}",
        last_success_at=1000.0,
        is_overdue=number == 3,
        failures=number,
        skips=0,
        can_be_skipped=number < LASTING_JOBS,
        is_abandoned=False,
    )


class _Chain:
    """A subnet of so many miners."""

    def __init__(self, miners: int) -> None:
        self._miners = miners

    async def read_metagraph(self) -> Any:
        ourselves = a_neuron(0, hotkey="5Validator", validator_permit=True, last_update=970)
        return a_metagraph([ourselves, *map(a_neuron, range(1, self._miners + 1))])


class _Signer:
    """A signer that knows three nodes, one of which lies, and one is silent."""

    async def read_nodes(self) -> list[NodeState]:
        def state(name: str, *, is_up: bool = True, is_trusted: bool = True) -> NodeState:
            return NodeState(
                name=name, block=970, is_up=is_up, is_trusted=is_trusted, contradictions=0, problem=""
            )

        return [
            state("one.example"),
            state("two.example", is_trusted=False),
            state("three.example", is_up=False),
        ]


class _Consensus:
    """A chain on which our newest vector will have less trust."""

    async def read_consensus(self, proposed: Any = None) -> ConsensusView:
        after = Prediction(validator_trust=0.75, dividends=0.2)
        return a_consensus_view(validator_trust=0.9, proposed=after)


@asynccontextmanager
async def _observed(
    database: Database, tmp_path: Path, miners: int = 12, seats: Callable[[], int] = lambda: 0
) -> AsyncIterator[Observer]:
    """Run an observer until the end of the body, which begins once it has looked at everything."""
    (tmp_path / "run").mkdir(exist_ok=True)
    board = tmp_path / "run" / "board"
    publish(Board(processes={"io_engine": os.getpid()}), board)
    family = Family(helpers={"supervisor": os.getpid()}, restarts={"compute_worker": 2})
    accounts = Accounts()
    accounts.look(family)
    page = metrics_page_path(board)
    page.write_bytes(exposition({"version": "4.0.0"}, family, accounts))
    SUPERVISORS_PAGE.set(page)
    settings = Settings(data_dir=tmp_path, day1_lead_hours=[12], final_lead_hours=list(LEADS))
    keeper = MetagraphKeeper(_Chain(miners))
    await keeper.refresh()
    pool: Any = SimpleNamespace(
        queue_depth=3, busy=2, undelivered=1, workers=4, healthy_seats=4, sandbox_level=3
    )
    watching = Observer(
        settings.weather,
        netuid=57,
        pool=pool,
        database=database,
        metagraph=keeper,
        clock=FakeClock(NOW),
        signer=_Signer(),
        consensus=ConsensusWatch(_Consensus(), database, 57, settings.weights),
        nodes=["one.example", "two.example", "three.example"],
        seats=seats,
        board_path=board,
    )
    jobs = [_job(number) for number in range(JOBS_OF_A_VALIDATOR - 1)]
    JOBS.watch(watching.statuses, lambda: jobs)
    # An earlier observer of this process has left its values.
    stored._DB_BYTES.set(0)
    resources._DISK_SIZE.set(0)
    before = time.time()
    task = asyncio.create_task(watching.run())
    try:
        async with asyncio.timeout(patience(20)):
            while not (
                _value("gaia_last_success_timestamp_seconds", task="observation") > before
                and _value("gaia_disk_size_bytes") > 0
                and _value("gaia_db_size_bytes") > 0
                and not math.isnan(_value("gaia_weights_trust", epoch="last"))
            ):
                assert not task.done(), task.exception()
                await asyncio.sleep(0.01)
        yield watching
    finally:
        JOBS.watch()
        task.cancel()
        await asyncio.wait([task])


async def test_nodes_of_the_chain_are_shown_by_name(database: Database, tmp_path: Path) -> None:
    async with _observed(database, tmp_path):
        assert _value("gaia_chain_node_state", node="one.example") == 2
        assert _value("gaia_chain_node_state", node="two.example") == 1
        assert _value("gaia_chain_node_state", node="three.example") == 0


async def test_trust_of_the_last_epoch_and_of_the_next_are_shown(database: Database, tmp_path: Path) -> None:
    async with _observed(database, tmp_path):
        assert _value("gaia_weights_trust", epoch="last") == 0.9
        assert _value("gaia_weights_trust", epoch="next") == 0.75


async def test_runs_truths_scores_and_weights_are_shown(database: Database, tmp_path: Path) -> None:
    await _fill(database, 12)

    async with _observed(database, tmp_path):
        assert _value("gaia_weather_runs_active") == 7
        assert _value("gaia_weather_forecasts", state="scored_day1") == 84
        assert _value("gaia_weather_forecasts", state="excused") == 0
        assert _value("gaia_clock_timestamp_seconds") == NOW.timestamp()
        assert (
            _value("gaia_weather_oldest_open_run_age_seconds") == timedelta(days=7, hours=6).total_seconds()
        )
        opened_at = INIT + timedelta(days=6, hours=18)
        assert _value("gaia_weather_last_run_opened_timestamp_seconds") == opened_at.timestamp()
        assert _value("gaia_weather_score_day1", statistic="median") == pytest.approx(6.5 / 12)
        assert _value("gaia_weather_score_era5_final", statistic="p90") == pytest.approx(10.9 / 12)
        assert _value("gaia_weather_truth_sets", source="era5", state="awaited") == 1
        assert _value("gaia_weather_truth_age_seconds", source="era5") == timedelta(days=7).total_seconds()
        assert math.isnan(_value("gaia_weather_truth_age_seconds", source="gfs"))
        due = INIT + timedelta(days=2 + 5, hours=6)
        assert _value("gaia_weather_truth_next_due_timestamp_seconds", source="era5") == due.timestamp()
        assert time.time() - 600 < _value("gaia_io_start_timestamp_seconds") <= time.time()
        assert _value("gaia_chain_block") == 1000
        assert _value("gaia_weights_last_set_block") == 970
        assert _value("gaia_weights_last_set_timestamp_seconds") == 0
        assert _value("gaia_ipc_queue_depth", queue="result") == 1
        assert _value("gaia_db_connections_max") == 4
        assert _value("gaia_process_open_fds", role="io_engine") > 0
        assert _value("gaia_child_up", role="supervisor") == 1
        assert _value("gaia_child_process_restarts_total", role="compute_worker") == 2
        assert _value("gaia_task_overdue", task="job3") == 1
        assert _value("gaia_task_failures_total", task="job5") == 5


async def test_number_of_series_is_bounded_and_the_same_for_12_and_256_miners(
    database: Database, tmp_path: Path
) -> None:
    await _fill(database, 12)
    async with _observed(database, tmp_path, miners=12):
        few = _exposition()
    async with database.transaction() as connection:
        await connection.execute("TRUNCATE runs, forecasts, lead_scores, reference_sets CASCADE")
    await _fill(database, 256)
    async with _observed(database, tmp_path, miners=256):
        many = _exposition()

    assert few.keys() == many.keys()
    assert len(many) <= MOST_SERIES
    assert not any("5Miner" in value for _, labels in many for _, value in labels)


async def test_everything_the_validator_ever_shows_is_there_from_the_start(
    database: Database, tmp_path: Path
) -> None:
    async with _observed(database, tmp_path):
        before = set(_exposition())
    await _fill(database, 12)
    async with _observed(database, tmp_path):
        after = set(_exposition())

    assert after == before


async def test_open_incident_is_shown_while_it_lasts(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "_LOOK_EVERY_S", 0.01)
    chain, unheard_of = Incident(database, "chain"), Incident(database, "moon")
    await chain.failing("no answer", NOW)
    await unheard_of.failing("new", NOW)

    async with _observed(database, tmp_path):
        shown = [_value("gaia_incident_open", party=party) for party in ("chain", "weights", "other")]
        await chain.recovered(NOW)
        async with asyncio.timeout(patience(10)):
            while _value("gaia_incident_open", party="chain"):
                await asyncio.sleep(0.01)

    assert shown == [1, 0, 1]


async def test_weights_that_land_while_we_look_are_told_by_the_real_clock(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "_LOOK_EVERY_S", 0.01)

    async with _observed(database, tmp_path):
        # The calendar of a rehearsal stands still at its end, so both vectors have one moment.
        for epoch in (7, 8):
            before = time.time()
            async with database.transaction() as connection:
                await connection.execute(
                    "INSERT INTO weight_journal (netuid, mechid, epoch, rule_set, vector, vector_sha256, weights,"
                    " run_ids, completed_ids, state, intended_at, settled_at, block)"
                    " VALUES (57, 0, $2, 'gaia-2.9', '[]', '', '{}', '[]', '[]', 'set', $1, $1, 1)",
                    *(NOW, epoch),
                )
            async with asyncio.timeout(patience(10)):
                while _value("gaia_weights_last_set_timestamp_seconds") < before:
                    await asyncio.sleep(0.01)

            assert _value("gaia_weights_last_set_timestamp_seconds") <= time.time()


async def test_seats_are_those_of_the_settings_in_force(database: Database, tmp_path: Path) -> None:
    wanted = 3
    async with _observed(database, tmp_path, seats=lambda: wanted):
        assert _value("gaia_pool_seats") == 3
        wanted = 2
        async with asyncio.timeout(patience(20)):
            while _value("gaia_pool_seats") != 2:
                await asyncio.sleep(0.01)


async def test_database_that_is_lost_makes_the_observation_fail_and_not_end(
    database: Database, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "_LOOK_EVERY_S", 0.01)
    lost = await Database.connect(empty_dsn, timeout_s=patience(10), pool_size=2)

    async with _observed(lost, tmp_path):
        await lost.close()
        async with asyncio.timeout(patience(10)):
            while _value("gaia_task_failures_total", task="observation") < 2:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(patience(10)):
            while not _value("gaia_task_overdue", task="observation"):
                await asyncio.sleep(0.01)

        assert _value("gaia_db_failures_total", kind="ConnectionLost") >= 2
        assert _value("gaia_process_open_fds", role="supervisor") > 0


async def test_bug_in_one_look_is_told_once_and_stops_no_other(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", "json", role="io_engine")

    async with _observed(database, tmp_path) as watching:
        monkeypatch.setattr(watching, "_pool", SimpleNamespace())
        failures = _value("gaia_task_failures_total", task="observation")
        async with asyncio.timeout(patience(20)):
            while _value("gaia_task_failures_total", task="observation") < failures + 2:
                await asyncio.sleep(0.01)
        lags = _value("gaia_io_event_loop_lag_distribution_seconds_count")
        async with asyncio.timeout(patience(20)):
            while _value("gaia_io_event_loop_lag_distribution_seconds_count") == lags:
                await asyncio.sleep(0.01)

    said = capfd.readouterr().err
    assert said.count('"event": "observation_failed"') == 1
    assert "queue_depth" in said
