"""Rules on trial: scored beside the active ones, under their own name, without a say and without harm."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from structlog.testing import capture_logs

from gaia.tasks.defined_tasks.weather.forecasts import score_book, trial
from gaia.tasks.defined_tasks.weather.forecasts.score_book import is_shadowed
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import OwnFailure, TransientError
from gaia.validator.utils.identities import RunId
from gaia.validator.utils.ipc_types import Failure, ResultUnit, WorkUnit
from tests.support.fakes import LEADS
from tests.support.story import Story

ACTIVE = "SELECT hotkey, day1, leads, overall, counted FROM score_table WHERE rule_set = 'gaia-2.9' ORDER BY hotkey"
SHADOW = ACTIVE.replace("gaia-2.9", "gaia-next")


@pytest.fixture
def story(database: Database, tmp_path: Path) -> Story:
    story = Story(database, tmp_path)
    story.settings = story.settings.model_copy(update={"shadow_rule_set": "gaia-next"})
    story.task = story.new_task()
    return story


async def test_shadow_has_rows_of_its_own_for_every_lead(story: Story) -> None:
    await story.until_idle()

    rows = await story.rows("SELECT rule_set, count(*) FROM lead_scores GROUP BY rule_set ORDER BY rule_set")
    wanted = len(story.miners) * (1 + len(LEADS))
    assert [tuple(row.values()) for row in rows] == [("gaia-2.9", wanted), ("gaia-next", wanted)]
    assert all(row["counted"] for row in await story.rows(SHADOW))


async def test_shadow_is_given_every_public_forecast_and_the_active_rules_are_not(story: Story) -> None:
    await story.until_idle()

    given = {
        (unit.payload["measures"], unit.payload["lead_hours"]): {"baseline", "persistence"}
        & unit.payload.keys()
        for unit in story.pool.units
        if "measures" in unit.payload
    }
    assert given == {
        ("gaia-2.9", 12): {"baseline"},
        ("gaia-2.9", 24): set(),
        ("gaia-2.9", 48): set(),
        ("plain", 12): {"baseline", "persistence"},
        ("plain", 24): {"baseline", "persistence"},
        ("plain", 48): {"baseline", "persistence"},
    }


async def test_weights_are_made_of_the_active_rules_scores_alone(story: Story) -> None:
    await story.until_idle()
    scores = await story.rows(ACTIVE)

    assert [row["overall"] for row in scores] != [row["overall"] for row in await story.rows(SHADOW)]
    assert await story.rows("SELECT rule_set FROM runs") == [{"rule_set": "gaia-2.9"}]


@pytest.mark.parametrize("where", ["day1_score", "lead_score", "overall_score"])
async def test_shadow_rules_that_fail_leave_the_active_scores_as_they_are(
    story: Story, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def broken(*_: object) -> NoReturn:
        raise ZeroDivisionError

    swapped: dict[str, Any] = {where: broken}
    rules = {**RULE_SETS, "gaia-next": replace(RULE_SETS["gaia-next"], **swapped)}
    monkeypatch.setattr(score_book, "RULE_SETS", rules)
    story.task = story.new_task()

    await story.until_idle()

    scores = await story.rows(ACTIVE)
    assert [row["counted"] for row in scores] == [True] * 3
    assert all(sorted(row["leads"]) == ["24", "48"] and row["overall"] > 0 for row in scores)
    assert not any(row["counted"] for row in await story.rows(SHADOW))
    assert [(await story.outcome(miner))["state"] for miner in story.miners[:1]] == ["scored"]


async def test_shadow_unit_that_kills_workers_harms_nobody(story: Story) -> None:
    def interrupt(unit: WorkUnit) -> None:
        if unit.payload.get("measures") == "plain":
            raise TransientError("the worker died")

    story.pool.interrupt = interrupt
    answer = story.pool.dispatch

    async def dispatch(unit: WorkUnit) -> ResultUnit:
        try:
            return await answer(unit)
        except TransientError as error:
            return ResultUnit(job_id=unit.job_id, attempt=1, failure=Failure.of(error))

    story.pool.dispatch = dispatch
    await story.until_idle()

    assert [row["counted"] for row in await story.rows(ACTIVE)] == [True] * 3
    assert [row["counted"] for row in await story.rows(SHADOW)] == [False] * 3


async def test_lead_waits_for_what_a_full_disk_kept_from_the_shadow(story: Story) -> None:
    fetch, left = story.archives.gfs.fetch, [OwnFailure("the disk is full")] * 20

    async def full_for_a_while(moment: datetime, *rest: Any) -> None:
        if left and str(rest[-1]).endswith("final"):
            story.task = story.new_task() if len(left) == 10 else story.task  # also over a restart
            raise left.pop()
        await fetch(moment, *rest)

    story.archives.gfs.fetch = full_for_a_while  # type: ignore[method-assign]

    with capture_logs() as lines:
        await story.until_idle(ticks=4000)

    assert not left
    assert [row["counted"] for row in await story.rows(ACTIVE)] == [True] * 3
    assert [row["counted"] for row in await story.rows(SHADOW)] == [True] * 3
    assert "lead_waits_for_shadow" in {line["event"] for line in lines}


async def test_lead_waits_for_the_shadow_alone_and_not_for_ever(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "PATIENCE", timedelta(days=3))
    fetch = story.archives.gfs.fetch

    async def full_for_one_lead(moment: datetime, *rest: Any) -> None:
        if str(rest[-1]).endswith("+24/final"):
            raise OwnFailure("the disk is full")
        await fetch(moment, *rest)

    story.archives.gfs.fetch = full_for_one_lead  # type: ignore[method-assign]

    await story.until_idle(ticks=4000)

    rows = await story.rows(
        "SELECT lead_hours, min(scored_at) AS at FROM lead_scores"
        " WHERE (rule_set, kind) = ('gaia-2.9', 'final') GROUP BY lead_hours"
    )
    at = {row["lead_hours"]: row["at"] for row in rows}
    assert at[24] - at[48] > timedelta(days=1)
    assert [row["counted"] for row in await story.rows(ACTIVE)] == [True] * 3
    assert [row["counted"] for row in await story.rows(SHADOW)] == [False] * 3


async def test_lead_a_miner_forfeits_is_worst_under_both(story: Story) -> None:
    story.miners[0].offline_leads = {24}

    await story.until_idle()

    rows = await story.rows(
        f"SELECT rule_set, score FROM lead_scores WHERE lead_hours = 24 AND hotkey = '{story.miners[0].hotkey}'"
        " ORDER BY rule_set"
    )
    assert [tuple(row.values()) for row in rows] == [("gaia-2.9", 0.0), ("gaia-next", -1.0)]


async def test_rejected_forecast_is_worst_under_both(story: Story) -> None:
    story.miners[0].bad_leads = {48}

    await story.until_idle()

    rows = await story.rows(
        f"SELECT rule_set, overall FROM score_table WHERE hotkey = '{story.miners[0].hotkey}' ORDER BY rule_set"
    )
    assert [tuple(row.values()) for row in rows] == [("gaia-2.9", 0.0), ("gaia-next", -1.0)]


async def test_run_outside_the_share_is_left_alone(story: Story) -> None:
    story.settings = story.settings.model_copy(update={"shadow_share": 0.0})
    story.task = story.new_task()

    await story.until_idle()

    assert await story.rows(SHADOW) == []


def test_share_of_the_runs_is_what_was_asked_for_and_always_the_same_runs() -> None:
    runs = [f"2026-{month:02}-{day:02}T00Z" for month in range(1, 13) for day in range(1, 29)]

    quarter = [run for run in runs if is_shadowed(RunId(run), 0.25)]

    assert 0.2 < len(quarter) / len(runs) < 0.3
    assert set(quarter) <= {run for run in runs if is_shadowed(RunId(run), 0.5)}


async def test_conflict_in_the_shadows_part_has_the_whole_write_done_again(story: Story) -> None:
    async with story.database.transaction() as connection:
        await connection.execute(
            "CREATE SEQUENCE writes; CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF nextval('writes') IN (1, 4) THEN RAISE EXCEPTION 'injected' USING ERRCODE = '40P01'; END IF;"
            " RETURN NEW; END $$; CREATE TRIGGER trouble BEFORE INSERT ON score_table FOR EACH ROW"
            " WHEN (NEW.rule_set = 'gaia-next') EXECUTE FUNCTION trouble()"
        )

    with capture_logs() as logs:
        await story.until_idle()

    events = [entry["event"] for entry in logs]
    assert events.count("transaction_repeated") == 2
    assert "shadow_failed" not in events
    assert all(row["counted"] for row in await story.rows(SHADOW))
