"""What metrics show of the database, on real rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gaia.validator.db import facts
from gaia.validator.db.connection import TRANSACTION_SECONDS, Database
from gaia.validator.db.facts import RunFacts, SourceFacts, VectorFacts
from gaia.validator.db.failures import FAILURES, StatementRefused
from gaia.validator.db.history import run_summaries

INIT = datetime(2026, 3, 25, tzinfo=UTC)
OPENED = INIT + timedelta(hours=18)
RULES = "gaia-2.9"


async def _add_run(database: Database, day: int, *, is_open: bool = True) -> str:
    run_id = f"2026-03-{25 + day}T00Z"
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO runs (run_id, init_time, rule_set, opened_at, state, completed_at)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            run_id,
            INIT + timedelta(days=day),
            RULES,
            OPENED + timedelta(days=day),
            "open" if is_open else "completed",
            None if is_open else OPENED,
        )
    return run_id


async def _add_scores(database: Database, run_id: str, kind: str, scores: list[list[float]]) -> None:
    """Store the scores of leads, a list for each miner."""
    async with database.transaction() as connection:
        for uid, leads in enumerate(scores):
            await connection.execute(
                "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at)"
                " VALUES ($1, $2, $3, 0, $4, $4, $4) ON CONFLICT DO NOTHING",
                run_id,
                f"5Miner{uid}",
                uid,
                OPENED,
            )
            for lead, score in enumerate(leads, 1):
                await connection.execute(
                    "INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, reason, scored_at)"
                    " VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $6::float8 = 'NaN' THEN 'given up' END, $7)",
                    *(run_id, f"5Miner{uid}", RULES, kind, lead * 24, score, OPENED),
                )


async def _add_references(database: Database, *references: tuple[str, bool]) -> None:
    async with database.transaction() as connection:
        await connection.executemany(
            "INSERT INTO reference_sets (reference_id, ready, fields) VALUES ($1, $2, '{}')", references
        )


async def _add_vector(database: Database, epoch: int, state: str, settled_at: datetime | None) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            "INSERT INTO weight_journal (netuid, mechid, epoch, rule_set, vector, vector_sha256, weights, run_ids,"
            " completed_ids, state, intended_at, settled_at, block)"
            " VALUES (57, 0, $1, 'gaia-2.9', '[]', '', '{}', '[]', '[]', $2, $3, $4,"
            " CASE WHEN $2 IN ('set', 'revealed') THEN 1 END)",
            *(epoch, state, OPENED, settled_at),
        )


async def test_runs_are_told_by_their_number_and_age(database: Database) -> None:
    async with database.transaction() as connection:
        nothing = await facts.run_facts(connection)
    for day in range(3):
        await _add_run(database, day, is_open=day > 0)
    async with database.transaction() as connection:
        found = await facts.run_facts(connection)

    assert nothing == RunFacts(active=0, oldest_opened_at=None, last_opened_at=None)
    assert found == RunFacts(
        active=2,
        oldest_opened_at=OPENED + timedelta(days=1),
        last_opened_at=OPENED + timedelta(days=2),
    )


async def test_vectors_in_doubt_and_the_newest_on_chain_are_told(database: Database) -> None:
    await _add_vector(database, 7, "set", OPENED)
    await _add_vector(database, 8, "set", OPENED + timedelta(hours=1))
    await _add_vector(database, 9, "failed", OPENED)
    await _add_vector(database, 10, "intended", None)
    await _add_vector(database, 6, "lost", OPENED)

    async with database.transaction() as connection:
        ours = await facts.vector_facts(connection, 57, 0)
        another = await facts.vector_facts(connection, 58, 0)

    assert ours == VectorFacts(in_doubt=2, last_set_epoch=8, last_set_at=OPENED + timedelta(hours=1))
    assert another == VectorFacts(in_doubt=2, last_set_epoch=None, last_set_at=None)


async def test_spread_is_of_the_newest_run_that_has_scores_of_the_kind(database: Database) -> None:
    old, new, empty = [await _add_run(database, day) for day in range(3)]
    await _add_scores(database, old, "final", [[0.2, 0.4], [0.5, 0.7]])
    await _add_scores(database, old, "day1", [[0.9], [0.9]])
    await _add_scores(database, new, "day1", [[0.1], [0.2], [0.3], [float("nan")]])
    await _add_scores(database, empty, "day1", [[float("nan")]])

    async with database.transaction() as connection:
        spread = await facts.score_spread(connection, RULES)
        other_rules = await facts.score_spread(connection, "gaia-next")

    assert spread["final"] == pytest.approx({"p10": 0.33, "median": 0.45, "p90": 0.57})
    assert spread["day1"] == pytest.approx({"p10": 0.12, "median": 0.2, "p90": 0.28})
    assert other_rules == {}


async def test_truths_are_counted_and_the_newest_is_named(database: Database) -> None:
    await _add_references(
        database,
        ("era5/2026-03-26T00Z/final", True),
        ("era5/2026-03-27T00Z/final", True),
        ("era5/2026-03-28T00Z/final", False),
        ("gfs/2026-03-25T06Z+0/day1", True),
        ("gfs/2026-03-25T12Z+12/day1", True),
    )

    async with database.transaction() as connection:
        found = await facts.source_facts(connection)

    assert found == {
        "era5": SourceFacts(ready=2, awaited=1, newest_truth="era5/2026-03-27T00Z/final"),
        "gfs": SourceFacts(ready=2, awaited=0, newest_truth="gfs/2026-03-25T06Z+0/day1"),
    }


async def test_truths_that_are_ready_or_given_up_are_settled(database: Database) -> None:
    names = [f"gfs/2026-03-25T{hour:02}Z+0/day1" for hour in (0, 6, 12, 18)]
    await _add_references(database, (names[0], True), (names[1], False), (names[2], False))
    async with database.transaction() as connection:
        await connection.execute(
            "UPDATE reference_sets SET given_up_at = now() WHERE reference_id = $1", names[2]
        )

        settled = await facts.settled_references(connection, names)

    assert settled == {names[0], names[2]}


async def test_database_has_a_size(database: Database) -> None:
    async with database.transaction() as connection:
        assert await facts.database_bytes(connection) > 1 << 20


async def test_transaction_is_timed_and_a_failure_is_counted_by_its_kind(database: Database) -> None:
    transactions, failures = TRANSACTION_SECONDS.buckets()[-1][1], dict(FAILURES.items())

    with pytest.raises(StatementRefused):
        async with database.transaction() as connection:
            await connection.execute("SELECT no_column FROM runs")

    assert TRANSACTION_SECONDS.buckets()[-1][1] == transactions + 1
    assert dict(FAILURES.items()) == {**failures, "StatementRefused": failures["StatementRefused"] + 1}


async def test_run_is_frozen_once_each_of_its_miners_has_answered_or_failed_to(database: Database) -> None:
    lost, asking, empty = [await _add_run(database, day) for day in range(3)]
    for run_id, states in ((lost, ("rejected", "excused")), (asking, ("rejected", "requested"))):
        await _add_scores(database, run_id, "day1", [[], []])
        async with database.transaction() as connection:
            for uid, state in enumerate(states):
                await connection.execute(
                    "UPDATE forecasts SET state = $3, reason = 'timeout' WHERE run_id = $1 AND uid = $2",
                    *(run_id, uid, state),
                )

    async with database.transaction() as connection:
        found = {run.run_id: (run.unfrozen, run.is_frozen) for run in await run_summaries(connection)}

    assert found == {lost: (0, True), asking: (1, False), empty: (0, False)}
