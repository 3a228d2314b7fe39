"""Whose fault a failure is: a stranger's costs itself alone, ours costs nobody anything."""

import asyncio
import math
import ssl
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from gaia.tasks.defined_tasks.verdicts import RetryPolicy
from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import Event
from gaia.tasks.defined_tasks.weather.forecasts.score_book import Lead, ScoreBook
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.db.gram_matrices import committed_after
from gaia.validator.db.queries import Forecast, Run, due_forecasts
from gaia.validator.utils.errors import MinerUnreachable, OwnFailure, TransientError
from gaia.validator.utils.identities import RunId
from tests.support.patience import patience
from tests.support.story import INIT, Story

CALLS = ["request_forecast", "forecast_ready", "open_store", "fetch_manifest", "fetch_files"]
OPENED = INIT.replace(hour=18)


@pytest.fixture
def story(database: Database, tmp_path: Path) -> Story:
    return Story(database, tmp_path)


async def states(story: Story) -> list[str]:
    return [(await story.outcome(miner))["state"] for miner in story.miners]


async def scores(story: Story) -> list[float]:
    return [(await story.outcome(miner))["overall"] for miner in story.miners]


async def undisturbed(database: Database, tmp_path: Path) -> list[float]:
    story = Story(database, tmp_path / "undisturbed")
    await story.until_idle()
    return await scores(story)


@pytest.mark.parametrize("call", CALLS)
async def test_exception_nobody_foresaw_ends_no_tick_and_costs_no_other_forecast(
    story: Story, call: str
) -> None:
    story.miners[1].raises[call] = [ssl.SSLError("wrong version"), ValueError("Encryption failed")]

    await story.until_idle()

    assert await states(story) == ["scored"] * 3


async def test_forecast_whose_step_always_breaks_is_excused_alone(story: Story) -> None:
    story.miners[1].raises["request_forecast"] = [KeyError(number) for number in range(9)]

    await story.until_idle()

    assert await states(story) == ["scored", "excused", "scored"]


@pytest.mark.parametrize("call", CALLS)
async def test_own_failure_spends_no_attempt_of_a_miner(story: Story, call: str) -> None:
    for miner in story.miners:
        miner.raises[call] = [OwnFailure("the chain signer did not answer")] * 9

    await story.until_idle()

    assert await states(story) == ["scored"] * 3
    assert (await story.rows("SELECT sum(attempts) AS n FROM forecasts"))[0]["n"] == 0


async def test_own_failures_leave_rounds_and_scores_as_they_were(story: Story) -> None:
    story.miners[1].raises["forecast_ready"] = [OwnFailure("no signature")] * 4
    story.miners[2].raises["request_forecast"] = [OwnFailure("no signature")] * 2

    await story.until_idle()

    rounds = await story.rows("SELECT DISTINCT committed_round FROM forecasts")
    assert [row["committed_round"] for row in rounds] == [OPENED]


async def test_outage_of_ours_that_lasts_two_days_excuses_nobody(story: Story) -> None:
    story.pace_s = 3600.0
    for miner in story.miners:
        miner.raises["open_store"] = [OwnFailure("disk") for _ in range(48)]

    await story.until_idle(ticks=400)

    assert await states(story) == ["scored"] * 3


async def test_miner_that_answers_slowly_moves_no_window(story: Story) -> None:
    async def slowly(forecast: Forecast) -> None:
        await story.clock.idle_until(story.clock.now() + timedelta(minutes=20))
        raise MinerUnreachable("slow")

    await story.until(OPENED)
    await story.task.open_due_runs(OPENED)
    story.miners[1].raises["request_forecast"] = [MinerUnreachable("slow")]
    runner = story.task._runner
    async with story.database.transaction() as connection:
        due = await due_forecasts(connection, RunId("2026-03-25T00Z"), ["planned"], OPENED)

    await runner.each(due[:1], slowly, RetryPolicy([timedelta(minutes=1)]), story.clock.now)

    moved = await story.rows("SELECT count(window_ends_at) AS n FROM forecasts")
    assert moved == [{"n": 0}]


async def test_forecast_rejected_at_one_lead_of_day_1_is_paid_for_no_other(
    database: Database, tmp_path: Path
) -> None:
    story = Story(database, tmp_path, day1_lead_hours=[6, 12])
    story.miners[0].bad_leads = {6}

    await story.until_idle()

    outcome = await story.outcome(story.miners[0])
    assert (outcome["state"], outcome["overall"]) == ("rejected", 0.0)
    scored = await story.rows(f"SELECT lead_hours FROM lead_scores WHERE hotkey = '{story.miners[0].hotkey}'")
    assert scored == []


async def test_tick_that_cannot_open_a_run_scores_what_is_due_all_the_same(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(database, tmp_path)
    await story.until(OPENED + timedelta(hours=3))

    async def broken(now: datetime) -> None:
        raise OwnFailure("a statement is refused")

    monkeypatch.setattr(story.task, "open_due_runs", broken)
    await story.clock.idle_until(INIT + timedelta(days=8))

    with pytest.raises(OwnFailure):
        await story.task.advance(story.clock.now())

    assert [sorted((await story.outcome(miner))["leads"]) for miner in story.miners] == [["24", "48"]] * 3


async def test_outage_between_asking_and_freezing_rejects_nobody(story: Story) -> None:
    for miner in story.miners:
        miner.polls_until_ready = 3
    await story.until(OPENED + timedelta(minutes=6))
    story.task = story.new_task()
    await story.clock.idle_until(OPENED + timedelta(hours=3))

    await story.until_idle()

    assert await states(story) == ["scored"] * 3


async def test_round_in_which_a_miner_was_bound_is_when_its_question_was_due(story: Story) -> None:
    for miner in story.miners:
        miner.polls_until_ready = 1
    await story.until(OPENED)
    await story.task.advance(OPENED)
    await story.clock.idle_until(OPENED + timedelta(hours=3))

    await story.until_idle()

    frozen = await story.rows("SELECT DISTINCT committed_round, committed_at FROM forecasts")
    assert [tuple(row.values()) for row in frozen] == [
        (OPENED + timedelta(minutes=5), OPENED + timedelta(hours=3))
    ]


async def test_forecast_that_was_rejected_meanwhile_is_paid_for_no_lead(story: Story) -> None:
    await story.until(OPENED + timedelta(hours=3))
    async with story.database.transaction() as connection:
        seen = await due_forecasts(connection, RunId("2026-03-25T00Z"), ["scored_day1"], story.clock.now())
    book = ScoreBook(story.settings.weights, story.settings.contract, story.database)
    await book.close(seen[0], Event.MINER_FAILED, "it lied", story.clock.now())

    await book.forfeit(seen[0], Lead(LeadKind.FINAL, 24), "silent", story.clock.now())

    rejected = next(miner for miner in story.miners if miner.hotkey == seen[0].hotkey)
    outcome = await story.outcome(rejected)
    assert (outcome["state"], outcome["overall"]) == ("rejected", 0.0)


async def test_window_grows_by_our_absence_and_no_more(story: Story) -> None:
    story.miners[1].polls_until_ready = 10**6
    await story.until(OPENED + timedelta(minutes=6))
    await story.clock.idle_until(OPENED + timedelta(hours=3))
    asked = story.miners[1].requests

    await story.until(OPENED + timedelta(hours=5, minutes=10))

    outcome = await story.outcome(story.miners[1])
    assert (outcome["state"], outcome["reason"]) == ("rejected", "no manifest within 2 h")
    # Asked each five minutes from the end of the outage to the end of the window, which it had moved.
    assert story.miners[1].requests - asked == 23


async def test_absence_that_is_too_long_excuses_and_does_not_reject(story: Story) -> None:
    for miner in story.miners:
        miner.polls_until_ready = 3
    await story.until(OPENED + timedelta(minutes=6))
    await story.clock.idle_until(OPENED + timedelta(hours=9))

    await story.until_idle()

    assert await states(story) == ["excused"] * 3
    assert "the validator did not ask between" in (await story.outcome(story.miners[0]))["reason"]


async def test_miner_that_we_ask_late_has_its_whole_window(story: Story) -> None:
    for miner in story.miners:
        miner.raises["request_forecast"] = [OwnFailure("no signature")]
        miner.polls_until_ready = 20
    await story.clock.idle_until(OPENED)
    await story.task.advance(OPENED)
    await story.clock.idle_until(OPENED + timedelta(hours=2, minutes=30))

    await story.until_idle()

    assert await states(story) == ["scored"] * 3


async def test_miner_that_we_asked_late_counts_as_bound_as_early_as_the_others(story: Story) -> None:
    for miner in story.miners:
        miner.polls_until_ready = 2
    story.miners[1].raises["request_forecast"] = [OwnFailure("no signature")]
    await story.until(OPENED)
    await story.task.advance(OPENED)
    story.seconds += 60.0
    await story.clock.idle_until(OPENED + timedelta(minutes=30))
    await story.until_idle()

    async with story.database.transaction() as connection:
        bound = await committed_after(connection, ["2026-03-25T00Z"], timedelta(hours=2))

    assert sorted(bound.values()) == [timedelta(minutes=10)] * 3


async def test_run_that_breaks_holds_up_no_other(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(database, tmp_path, last_run=INIT + timedelta(days=1))
    await story.until(OPENED + timedelta(days=1, hours=3))
    whole = story.task.score_final

    async def broken(run: Run, now: datetime) -> None:
        if run.run_id == "2026-03-25T00Z":
            raise ValueError("a bug")
        await whole(run, now)

    monkeypatch.setattr(story.task, "score_final", broken)
    await story.clock.idle_until(INIT + timedelta(days=8))

    with pytest.raises(ValueError, match="a bug"):
        await story.task.advance(story.clock.now())

    scored = await story.rows("SELECT run_id, count(*) AS n FROM lead_scores WHERE kind = 'final' GROUP BY 1")
    assert scored == [{"run_id": "2026-03-26T00Z", "n": 3}]


async def test_lead_that_is_not_scored_leaves_nothing_in_the_spool(
    database: Database, tmp_path: Path
) -> None:
    story = Story(database, tmp_path, keep_inputs_days=30)
    spool, late = tmp_path / "spool" / "2026-03-25T00Z", chunk_path("2t", 24, 6)
    story.miners[0].offline_leads, story.miners[0].offline_field = {24}, "msl"
    story.miners[1].bad_leads = {24}
    story.archives.era5.published_after = timedelta(days=9)
    await story.until(INIT + timedelta(days=10, hours=12))

    assert (await story.rows("SELECT state FROM runs"))[0]["state"] == "open"
    assert await states(story) == ["scored_day1", "rejected", "scored_day1"]
    assert (await story.outcome(story.miners[0]))["leads"] == {"24": 0.0}
    kept = [(spool / miner.hotkey / late).exists() for miner in story.miners]
    assert kept == [False, False, True]


async def test_download_of_an_old_lead_delays_no_miner_of_a_new_run(
    database: Database, tmp_path: Path
) -> None:
    story = Story(database, tmp_path, last_run=INIT + timedelta(days=6), tick_interval_s=0.02)
    lead_is_due = INIT + timedelta(days=6, hours=6)
    await story.until(lead_is_due)
    drips = story.miners[0].fetching = asyncio.Event()
    await story.clock.idle_until(OPENED + timedelta(days=6))

    await story.task.advance(story.clock.now())

    frozen = await story.rows(
        "SELECT count(*) AS n FROM forecasts WHERE run_id = '2026-03-31T00Z' AND state = 'frozen'"
    )
    assert frozen == [{"n": 3}]
    drips.set()
    await story.until_idle(ticks=2000)
    assert {row["state"] for row in await story.rows("SELECT state FROM forecasts")} == {"scored"}


async def test_first_day_without_truth_holds_no_later_lead(database: Database, tmp_path: Path) -> None:
    story = Story(database, tmp_path, day1_give_up_hours=24 * 40)
    story.archives.gfs.published_after = timedelta(days=30)

    await story.until(INIT + timedelta(days=9))

    assert await states(story) == ["frozen"] * 3
    assert [sorted((await story.outcome(miner))["leads"]) for miner in story.miners] == [["24", "48"]] * 3
    await story.until_idle(ticks=4000)
    assert await states(story) == ["scored"] * 3


async def test_first_day_whose_truth_never_comes_is_absent_for_all_alike(story: Story) -> None:
    story.archives.gfs.failures = [TransientError("404") for _ in range(4000)]

    await story.until_idle(ticks=4000)

    assert await states(story) == ["scored"] * 3
    assert [(await story.outcome(miner))["day1"] for miner in story.miners] == [None] * 3
    leads = await story.rows("SELECT DISTINCT score, reason FROM lead_scores WHERE kind = 'day1'")
    assert math.isnan(leads[0]["score"])
    assert [row["reason"] for row in leads] == ["gfs/2026-03-25T12Z+0/day1 was not there in time"]
    assert story.clock.now() < INIT + timedelta(days=9)


async def test_run_whose_era5_never_comes_ends_for_all_alike_and_leaves_no_files(story: Story) -> None:
    story.archives.era5.failures = [TransientError("404") for _ in range(4000)]

    await story.until_idle(ticks=4000)

    assert await states(story) == ["scored"] * 3
    leads = await story.rows(
        "SELECT DISTINCT score, reason FROM lead_scores WHERE kind = 'final' ORDER BY reason"
    )
    assert [row["reason"].split()[1:] for row in leads] == [["was", "not", "there", "in", "time"]] * len(
        leads
    )
    assert leads
    assert all(math.isnan(row["score"]) for row in leads)
    assert await story.rows("SELECT DISTINCT counted FROM score_table") == [{"counted": False}]
    assert await story.rows("SELECT state FROM runs") == [{"state": "completed"}]
    assert INIT + timedelta(days=31) < story.clock.now() < INIT + timedelta(days=50)


async def test_task_that_is_closed_begins_nothing_and_lets_what_is_in_hand_end(
    database: Database, tmp_path: Path
) -> None:
    story = Story(database, tmp_path, tick_interval_s=0.02)
    drips = story.miners[0].fetching = asyncio.Event()
    await story.clock.idle_until(OPENED)
    await story.task.advance(story.clock.now())
    await asyncio.gather(*(miner.is_fetched_from.wait() for miner in story.miners))

    closing = asyncio.create_task(story.task.close())
    await asyncio.sleep(0)
    drips.set()
    await closing

    assert await states(story) == ["scored_day1"] * 3


async def test_task_that_is_closed_in_haste_ends_what_is_in_hand(database: Database, tmp_path: Path) -> None:
    story = Story(database, tmp_path, tick_interval_s=0.02)
    story.miners[0].fetching = asyncio.Event()
    await story.clock.idle_until(OPENED)
    await story.task.advance(story.clock.now())
    await story.miners[0].is_fetched_from.wait()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(story.task.close(), 0.05)

    assert (await story.outcome(story.miners[0]))["state"] == "frozen"
    assert len(asyncio.all_tasks()) == 1


async def test_scores_locked_by_maintenance_excuse_nobody(empty_dsn: str, tmp_path: Path) -> None:
    prepared = await Database.connect(empty_dsn, timeout_s=patience(30.0), pool_size=1)
    await run_comprehensive_database_setup(prepared)
    await prepared.close()
    database = await Database.connect(empty_dsn, timeout_s=patience(0.3), pool_size=4)
    story = Story(database, tmp_path)
    await story.clock.idle_until(OPENED)
    operator = await asyncpg.connect(empty_dsn)
    async with operator.transaction():
        await operator.execute("LOCK TABLE component_scores")
        for _ in range(4):
            story.seconds += 301.0
            await story.task.advance(story.clock.now())
    await operator.close()

    await story.until_idle()

    assert await states(story) == ["scored"] * 3
    await database.close()
