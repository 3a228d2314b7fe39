"""A run's story against a real database: whoever fails, the others are scored."""

import random
from datetime import timedelta
from pathlib import Path

import pytest

from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.ipc_types import WorkUnit
from tests.support.fakes import FIELDS, LEADS, a_metagraph
from tests.support.story import INIT, Story


@pytest.fixture
def story(database: Database, tmp_path: Path) -> Story:
    return Story(database, tmp_path)


async def test_honest_forecasts_are_scored_at_every_lead_and_the_run_completes(story: Story) -> None:
    await story.until_idle()

    outcomes = [await story.outcome(miner) for miner in story.miners]
    assert [outcome["state"] for outcome in outcomes] == ["scored"] * 3
    assert [sorted(outcome["leads"]) for outcome in outcomes] == [["24", "48"]] * 3
    assert outcomes[0]["overall"] > outcomes[1]["overall"] > outcomes[2]["overall"] > 0
    runs = await story.rows("SELECT run_id, state FROM runs")
    assert runs == [{"run_id": "2026-03-25T00Z", "state": "completed"}]


async def test_leads_are_scored_when_era5_is_due_and_not_before(story: Story) -> None:
    due = INIT + timedelta(hours=24, days=5) + timedelta(hours=6)

    await story.until(due - timedelta(seconds=1))
    await story.task.advance(story.clock.now())
    assert (await story.outcome(story.miners[0]))["leads"] == {}

    await story.until(due)
    await story.task.advance(story.clock.now())
    assert list((await story.outcome(story.miners[0]))["leads"]) == ["24"]


async def test_refuser_is_rejected_with_its_words_and_scores_nothing(story: Story) -> None:
    story.miners[1].accepts = False

    await story.until_idle()

    outcome = await story.outcome(story.miners[1])
    assert (outcome["state"], outcome["reason"], outcome["overall"]) == ("rejected", "refused: busy", 0.0)


async def test_silent_miner_is_asked_again_as_often_as_the_settings_say(story: Story) -> None:
    story.miners[1].unreachable = True

    await story.until_idle()

    outcome = await story.outcome(story.miners[1])
    assert (outcome["state"], outcome["overall"]) == ("rejected", 0.0)
    assert story.miners[1].requests == 1 + len(story.settings.miner_query_retry_minutes)


async def test_miner_that_is_never_ready_is_rejected_when_the_window_closes(story: Story) -> None:
    story.miners[1].polls_until_ready = 10**6

    await story.until(INIT.replace(hour=20, minute=10))

    outcome = await story.outcome(story.miners[1])
    assert (outcome["state"], outcome["reason"]) == ("rejected", "no manifest within 2 h")
    assert (await story.outcome(story.miners[0]))["state"] == "scored_day1"


async def test_miner_that_needs_an_hour_is_in_time(story: Story) -> None:
    story.miners[1].polls_until_ready = 12

    await story.until_idle()

    assert (await story.outcome(story.miners[1]))["state"] == "scored"


async def test_swapped_bytes_at_a_late_lead_forfeit_everything_and_keep_the_evidence(story: Story) -> None:
    story.miners[0].bad_leads = {48}

    await story.until_idle()

    outcome = await story.outcome(story.miners[0])
    assert (outcome["state"], outcome["overall"]) == ("rejected", 0.0)
    assert "not those promised" in outcome["reason"]
    assert "0.500000 finite" in outcome["evidence"]["diagnosis"][0]


async def test_forecast_that_kills_workers_is_rejected_and_the_others_go_on(story: Story) -> None:
    story.miners[0].killer_leads = {12}

    await story.until_idle()

    assert (await story.outcome(story.miners[0]))["state"] == "rejected"
    assert (await story.outcome(story.miners[1]))["state"] == "scored"


async def test_miner_that_is_away_at_one_lead_loses_that_lead_only(story: Story) -> None:
    story.miners[0].offline_leads = {24}

    await story.until_idle()

    outcome = await story.outcome(story.miners[0])
    assert outcome["state"] == "scored"
    assert outcome["leads"]["24"] == 0.0
    assert outcome["leads"]["48"] > 0.0


async def test_miner_is_not_blamed_for_what_a_crash_left_in_our_spool(story: Story, tmp_path: Path) -> None:
    await story.until(INIT + timedelta(days=1))
    innocent = story.miners[0].hotkey
    damaged = tmp_path / "spool" / "2026-03-25T00Z" / innocent / chunk_path("2t", 24, 6)
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_text("")

    await story.until_idle()

    outcome = await story.outcome(story.miners[0])
    assert outcome["state"] == "scored"
    assert outcome["leads"]["24"] > 0.0


async def test_new_manifest_after_the_freeze_is_a_breach(story: Story) -> None:
    await story.until(INIT + timedelta(days=1))
    story.miners[0].manifest = story.miners[0].manifest.replace(b"msl/7", b"msl/8")

    await story.until_idle()

    outcome = await story.outcome(story.miners[0])
    assert (outcome["state"], outcome["reason"]) == (
        "rejected",
        "the manifest was changed after it was frozen",
    )


async def test_hotkey_that_was_registered_anew_does_not_inherit_the_forecast(story: Story) -> None:
    await story.until(INIT + timedelta(days=1))
    hotkeys = [miner.hotkey for miner in story.miners]
    fresh = a_metagraph(hotkeys)
    fresh.neurons[1] = type(fresh.neurons[1])(
        **{name: getattr(fresh.neurons[1], name) for name in fresh.neurons[1].__struct_fields__}
        | {"registered_at": 77}
    )
    story.metagraph.metagraph = fresh

    await story.until_idle()

    assert (await story.outcome(story.miners[0]))["state"] == "rejected"
    assert (await story.outcome(story.miners[1]))["state"] == "scored"


async def test_late_era5_is_waited_for_without_harm(story: Story) -> None:
    story.archives.era5.published_after = timedelta(days=9)

    await story.until_idle()

    assert (await story.outcome(story.miners[0]))["state"] == "scored"
    assert len(story.archives.era5.fetched) == len(LEADS)


async def test_source_that_fails_is_asked_again_later(story: Story) -> None:
    story.archives.gfs.failures = [TransientError("503"), TransientError("503")]

    await story.until_idle()

    assert (await story.outcome(story.miners[0]))["state"] == "scored"
    references = await story.rows("SELECT ready, last_error FROM reference_sets")
    assert all(row["ready"] and row["last_error"] is None for row in references)


async def test_outage_of_our_source_at_the_start_forfeits_nobody(story: Story) -> None:
    story.archives.gfs.published_after = timedelta(hours=30)

    await story.until_idle()

    assert [(await story.outcome(miner))["state"] for miner in story.miners] == ["scored"] * 3


async def test_engine_that_dies_anywhere_leaves_the_same_scores(story: Story) -> None:
    class Died(BaseException):
        pass

    died, chance = 0, random.Random(1)

    def interrupt(unit: WorkUnit) -> None:
        nonlocal died
        if chance.random() < 0.4:
            died += 1
            raise Died

    for _ in range(500):
        story.pool.interrupt = interrupt
        try:
            due = await story.task.advance(story.clock.now())
        except BaseException as error:
            if not isinstance(error, Died | BaseExceptionGroup):
                raise
            story.task = story.new_task()
            continue
        if due is None:
            break
        await story.clock.idle_until(due)

    assert died > 5
    outcomes = [await story.outcome(miner) for miner in story.miners]
    assert [outcome["state"] for outcome in outcomes] == ["scored"] * 3
    counts = await story.rows("SELECT count(*) AS n FROM component_scores")
    assert counts == [{"n": 3 * len(FIELDS) * (1 + len(LEADS))}]


async def test_references_are_fetched_once_for_all_miners(story: Story) -> None:
    await story.until_idle()

    assert len(story.archives.gfs.fetched) == 2
    assert len(story.archives.era5.fetched) == len(LEADS)


async def test_forecasts_that_are_there_share_one_unit_a_lead(story: Story) -> None:
    await story.until_idle()

    scored = [unit for unit in story.pool.units if unit.handler.startswith("weather.score")]
    assert [unit.handler for unit in scored] == ["weather.score.batch"] * (1 + len(LEADS))
    assert all(len(unit.payload["forecasts"]) == len(story.miners) for unit in scored)


async def test_one_poison_forecast_sends_its_batch_through_one_by_one(story: Story) -> None:
    story.miners[0].killer_leads = {48}

    await story.until_idle()

    alone = [unit.job_id for unit in story.pool.units if unit.handler == "weather.score.era5_final"]
    assert sorted(alone) == sorted(f"2026-03-25T00Z/{miner.hotkey}/final/48" for miner in story.miners)
    assert [(await story.outcome(miner))["state"] for miner in story.miners] == [
        "rejected",
        "scored",
        "scored",
    ]


async def test_truth_that_vanished_from_disk_is_made_again_and_must_be_the_same(
    story: Story, tmp_path: Path
) -> None:
    await story.until(INIT + timedelta(days=6, hours=7))
    for path in (tmp_path / "fields").rglob("*.f32"):
        path.unlink()

    await story.until_idle()

    assert (await story.outcome(story.miners[0]))["state"] == "scored"


async def test_run_waits_for_the_first_miner_to_be_known(story: Story) -> None:
    everybody = story.metagraph.metagraph
    story.metagraph.metagraph = a_metagraph([])
    await story.clock.idle_until(INIT.replace(hour=18))

    assert await story.task.advance(story.clock.now()) == story.clock.now()

    story.metagraph.metagraph = everybody
    await story.until_idle()
    assert (await story.outcome(story.miners[0]))["state"] == "scored"


async def test_spool_of_a_completed_run_is_gone(story: Story, tmp_path: Path) -> None:
    await story.until_idle()

    assert list((tmp_path / "spool").iterdir()) == []
