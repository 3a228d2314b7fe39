"""`gaia runs show` says where each forecast of a run stands, and what it waits for until when."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gaia.cli.__main__ import main
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.db.statements import SQL
from tests.support.patience import patience

Gaia = Callable[..., tuple[int, str, str]]
OPEN, CROWDED = "2026-03-25T00Z", "2026-03-26T00Z"
LONG_REASON = "refused: " + "busy " * 30

STATEMENTS = f"""
INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES
    ('{OPEN}', '2026-03-25T00:00Z', 'gaia-2.9', '2026-03-25T18:00Z'),
    ('{CROWDED}', '2026-03-26T00:00Z', 'gaia-0.1', '2026-03-26T18:00Z');
INSERT INTO forecasts (run_id, hotkey, uid, registered_at, state, reason, opened_at, changed_at, attempts, next_at,
                       window_ends_at, manifest)
SELECT '{OPEN}', '5Miner' || uid, uid, 0, state, reason, '2026-03-25T18:00Z', changed_at::timestamptz, attempts,
       next_at::timestamptz, window_ends_at::timestamptz, 'x'
  FROM (VALUES
    (1, 'planned', NULL, '2026-03-25T18:00Z', 1, '2026-03-25T18:15Z', NULL),
    (2, 'requested', NULL, '2026-03-25T18:01Z', 0, '2026-03-25T18:05Z', NULL),
    (3, 'requested', NULL, '2026-03-25T18:01Z', 0, '2026-03-25T18:05Z', '2026-03-25T21:00Z'),
    (4, 'frozen', NULL, '2026-03-25T18:20Z', 0, '2026-03-25T18:20Z', NULL),
    (5, 'scored_day1', NULL, '2026-03-25T18:30Z', 2, '2026-03-25T18:30Z', NULL),
    (6, 'rejected', '{LONG_REASON}', '2026-03-25T18:02Z', 0, '2026-03-25T18:02Z', NULL),
    (7, 'excused', 'the validator did not ask', '2026-03-25T18:03Z', 0, '2026-03-25T18:03Z', NULL)
  ) AS rows (uid, state, reason, changed_at, attempts, next_at, window_ends_at);
INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, reason, scored_at) VALUES
    ('{OPEN}', '5Miner5', 'gaia-2.9', 'day1', 12, 0.5, NULL, '2026-03-25T18:30Z'),
    ('{OPEN}', '5Miner5', 'gaia-2.9', 'final', 24, 0.4, NULL, '2026-03-31T07:00Z'),
    ('{OPEN}', '5Miner6', 'gaia-2.9', 'final', 24, 0.0, 'unreachable', '2026-03-31T07:00Z'),
    ('{OPEN}', '5Miner5', 'gaia-next', 'final', 48, 0.4, NULL, '2026-03-31T07:00Z');
INSERT INTO score_table (run_id, hotkey, rule_set, day1, leads, overall, counted, updated_at) VALUES
    ('{OPEN}', '5Miner5', 'gaia-2.9', 0.5, '{{}}', 0.45, true, '2026-03-31T07:00Z'),
    ('{OPEN}', '5Miner5', 'gaia-next', 0.1, '{{}}', 0.1, true, '2026-03-31T07:00Z');
INSERT INTO reference_sets (reference_id, ready, attempts, retry_at, last_error, fields) VALUES
    ('climatology/2026-03-25T12Z/day1', true, 0, NULL, NULL, '{{}}'),
    ('gfs/2026-03-25T00Z+12/day1', true, 0, NULL, NULL, '{{}}'),
    ('gfs/2026-03-25T12Z+0/day1', false, 3, '2026-03-25T19:00Z', E'status 503\\x1b[31m', NULL);
INSERT INTO forecasts (run_id, hotkey, uid, registered_at, state, opened_at, changed_at, next_at, manifest)
SELECT '{CROWDED}', '5Crowd' || uid, uid, 0, CASE WHEN uid < 200 THEN 'planned' ELSE 'frozen' END,
       '2026-03-26T18:00Z', '2026-03-26T18:00Z', timestamptz '2026-03-26T18:00Z' + uid * interval '1 second', 'x'
  FROM generate_series(0, 255) AS uid;
"""


async def execute(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statements)
    await connection.close()


@pytest.fixture(scope="module")
def dsn(postgres_dsn: str) -> str:
    """URL of a database with a run in which each state occurs, and a run of 256 forecasts."""
    name = f"progress_{uuid.uuid4().hex[:12]}"
    url = postgres_dsn.replace("/postgres?", f"/{name}?")

    async def make() -> None:
        await execute(postgres_dsn, f"CREATE DATABASE {name}")
        database = await Database.connect(url, timeout_s=patience(10), pool_size=1)
        await run_comprehensive_database_setup(database)
        await database.close()
        await execute(url, STATEMENTS)

    asyncio.run(make())
    return url


@pytest.fixture
def gaia(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Gaia:
    """Show a run as an operator would; return (exit code, standard output, standard error)."""
    monkeypatch.setenv("GAIA_DATABASE_URL", dsn)
    monkeypatch.setenv("GAIA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GAIA_FINAL_LEAD_HOURS", "24,48")
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["runs", "show", *(str(word) for word in words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def shown(gaia: Gaia, *words: object) -> Any:
    code, said, complaint = gaia(*words, "--json")
    assert (code, complaint) == (0, "")
    return json.loads(said)


def test_each_forecast_says_its_next_step_and_its_moment(gaia: Gaia) -> None:
    rows = shown(gaia, OPEN)["forecasts"]

    assert [
        (row["uid"], row["state"], row["next_step"], row["next_at"], row["window_ends_at"]) for row in rows
    ] == [
        (1, "planned", "ask", "2026-03-25T18:15:00+00:00", "2026-03-25T20:00:00+00:00"),
        (2, "requested", "freeze", "2026-03-25T18:05:00+00:00", "2026-03-25T20:00:00+00:00"),
        (3, "requested", "freeze", "2026-03-25T18:05:00+00:00", "2026-03-25T21:00:00+00:00"),
        (4, "frozen", "score", "2026-03-25T19:00:00+00:00", None),
        (5, "scored_day1", "score", "2026-04-01T06:00:00+00:00", None),
        (6, "rejected", "", None, None),
        (7, "excused", "", None, None),
    ]
    assert [(row["uid"], row["next_kind"], row["next_lead_hours"]) for row in rows if row["next_kind"]] == [
        (4, "day1", 12),
        (5, "final", 48),
    ]
    assert [(row["uid"], row["attempts"]) for row in rows if row["attempts"]] == [(1, 1), (5, 2)]
    assert (rows[4]["day1"], rows[4]["overall"], rows[4]["leads"]) == (0.5, 0.45, 1)
    assert rows[5]["since"] == "2026-03-25T18:02:00+00:00"


def test_leads_say_who_is_scored_and_which_sets_are_awaited(gaia: Gaia) -> None:
    leads = shown(gaia, OPEN)["leads"]

    assert [(lead["kind"], lead["lead_hours"], lead["scored"], lead["lost"]) for lead in leads] == [
        ("day1", 12, 1, 0),
        ("final", 24, 1, 1),
        ("final", 48, 0, 0),
    ]
    assert [lead["truth_due_at"][:16] for lead in leads] == [
        "2026-03-25T16:00",
        "2026-03-31T06:00",
        "2026-04-01T06:00",
    ]
    assert {one["role"]: one["state"] for one in leads[0]["references"]} == {
        "climatology": "ready",
        "truth": "awaited",
        "baseline": "ready",
    }


def test_screen_says_what_the_run_waits_for_in_the_words_of_the_source(gaia: Gaia) -> None:
    code, said, _ = gaia(OPEN)

    lines = said.splitlines()
    assert code == 0
    assert lines[0] == f"run        {OPEN}, open; its scores are not final"
    assert "forecasts  7: 0 scored, 1 rejected, 1 excused, 5 in work" in lines
    assert "leads      scored: day 1 1 of 1, final 1 of 2" in lines
    (day1,) = [line for line in lines if line.startswith("day 1 +12 h")]
    assert "2026-03-25 16:00Z" in day1
    assert day1.endswith("2 of 3      2026-03-25 19:00Z  truth (status 503 [31m)")
    (last,) = [line for line in lines if line.startswith("+48 h")]
    assert last.endswith("2026-04-01 06:00Z  its time; nothing was asked for yet")
    (frozen,) = [line for line in lines if line.lstrip().startswith("4 ")]
    assert "score day 1 +12 h  2026-03-25 19:00Z" in frozen
    assert LONG_REASON.strip() in said


def test_states_and_miners_are_chosen(gaia: Gaia) -> None:
    assert [row["uid"] for row in shown(gaia, OPEN, "--in-state", "requested")["forecasts"]] == [2, 3]
    assert [row["uid"] for row in shown(gaia, OPEN, "--miner", "5Miner6")["forecasts"]] == [6]
    assert shown(gaia, OPEN, "--miner", 4, "--in-state", "planned")["forecasts"] == []

    said = gaia(OPEN, "--in-state", "planned", "--in-state", "excused")[1]
    assert "2 of 7 forecasts:\n" in said
    assert gaia(OPEN, "--miner", 4, "--in-state", "planned")[1].endswith("0 of 7 forecasts:\n")


def test_run_and_miner_that_do_not_exist_are_refused_in_a_sentence(gaia: Gaia) -> None:
    assert gaia("2025") == (1, "", f"no run is called 2025; the newest is {CROWDED}.\n")
    code, _, complaint = gaia(OPEN, "--miner", 99)
    assert (code, complaint.partition(";")[0]) == (1, "99 means 0 miners of this run")


def test_forecasts_of_a_full_subnet_are_summed_up_before_they_are_listed(gaia: Gaia) -> None:
    said = gaia(CROWDED)[1]

    groups, rows = said.split("forecasts  state")[1].split("uid  hotkey")
    assert [line.split()[0] for line in groups.splitlines()[2:4]] == ["200", "56"]
    assert "planned  ask miner" in groups
    assert "score day 1 +12 h" in groups
    uids = [int(line.split()[0]) for line in rows.splitlines()[2:]]
    assert uids == list(range(256))


def test_rules_that_this_release_does_not_know_are_named(gaia: Gaia) -> None:
    assert "rules      gaia-0.1; this release does not know these rules\n" in gaia(CROWDED)[1]
    assert not shown(gaia, CROWDED)["knows_rule_set"]
    assert shown(gaia, OPEN)["knows_rule_set"]


async def test_nothing_of_a_miners_size_is_read(dsn: str) -> None:
    """A manifest is as large as its miner likes, and lies outside of its row."""
    connection = await asyncpg.connect(dsn)
    try:
        for name in ("progress_of_run", "leads_of_run", "reference_progress"):
            statement = await connection.prepare(SQL[name])
            read = {column.name for column in statement.get_attributes()}
            assert not read & {"manifest", "signature", "evidence", "fields"}
    finally:
        await connection.close()
