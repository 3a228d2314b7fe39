"""The orchestrator's jobs: what the book says of them, and what background tasks may not do to the others."""

from __future__ import annotations

import asyncio

import pytest

from gaia.validator.core.background.task import BackgroundTask
from gaia.validator.utils.errors import ConfigurationError, TransientError
from tests.support.metronome import AWAY, DISK, WELL, FakeSetter, FakeTask, Metronome, nothing
from tests.support.patience import patience


async def test_each_job_is_in_the_book_from_the_start() -> None:
    background = BackgroundTask(name="watch", interval_s=60.0, deadline_s=1.0, run=nothing)
    metronome = Metronome(background=[background])
    jobs = [status.job for status in metronome.book.statuses()]
    await metronome.end()

    assert jobs == ["metagraph", "main_scoring", "weights", "status_logger", "watch"]


async def test_successes_and_failures_of_each_job_are_in_the_book() -> None:
    async def away() -> None:
        raise AWAY

    metronome = Metronome(WELL, AWAY, setter=FakeSetter(away))
    began = metronome.status("main_scoring").last_success_at
    await metronome.until(lambda: metronome.status("main_scoring").last_success_at > began)
    await metronome.until(lambda: metronome.status("weights").failures > 1)
    await metronome.until(lambda: metronome.status("metagraph").failures > 1)
    await metronome.end()

    assert metronome.status("main_scoring").failures == 0
    assert metronome.status("weights").last_success_at <= metronome.status("metagraph").last_success_at


async def test_beats_that_find_a_job_still_running_are_counted() -> None:
    go_on = asyncio.Event()

    async def work() -> None:
        await go_on.wait()

    metronome = Metronome(task=FakeTask(work))
    await metronome.until(lambda: metronome.status("main_scoring").skips > 2)
    go_on.set()
    await metronome.end()

    assert metronome.status("weights").skips < metronome.status("main_scoring").skips


async def test_background_task_runs_at_its_beats_and_one_at_the_start_at_once() -> None:
    runs: list[str] = []

    async def often() -> None:
        runs.append("often")

    async def rarely() -> None:
        runs.append("rarely")

    metronome = Metronome(
        background=[
            BackgroundTask(name="often", interval_s=0.01, deadline_s=1.0, run=often),
            BackgroundTask(name="rarely", interval_s=3600.0, deadline_s=1.0, run=rarely, at_start=True),
        ]
    )
    await metronome.until(lambda: runs.count("often") > 2)
    await metronome.end()

    assert runs.count("rarely") == 1


async def test_background_task_that_ignores_everything_delays_no_job_and_not_the_stop() -> None:
    release = asyncio.Event()
    looks_before = 0

    async def ignore() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    stubborn = BackgroundTask(name="stubborn", interval_s=0.01, deadline_s=0.01, run=ignore)
    setter = FakeSetter()
    # A stop that waited would take half of this.
    metronome = Metronome(setter=setter, background=[stubborn], drain_timeout_s=7200.0)
    await metronome.until(lambda: metronome.status("stubborn").is_abandoned)
    looks_before = setter.looks
    await metronome.until(lambda: setter.looks > looks_before + 2)
    await metronome.end()

    assert metronome.orchestrator.left_behind() == ["stubborn"]
    release.set()
    await metronome.until(lambda: not metronome.orchestrator.left_behind())


async def test_stop_finishes_a_background_task_that_is_in_hand() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    story: list[str] = []

    async def store() -> None:
        begun.set()
        await go_on.wait()
        story.append("stored")

    task = BackgroundTask(name="watch", interval_s=3600.0, deadline_s=60.0, run=store, at_start=True)
    metronome = Metronome(background=[task])
    await asyncio.wait_for(begun.wait(), patience(10))
    metronome.stop.set()
    # Enough turns of the loop for a hasty end.
    await asyncio.sleep(0.05)
    go_on.set()
    await metronome.end()

    assert story == ["stored"]


async def test_setting_that_only_a_background_task_finds_wrong_ends_the_engine() -> None:
    async def refuse() -> None:
        raise DISK

    task = BackgroundTask(name="watch", interval_s=3600.0, deadline_s=60.0, run=refuse, at_start=True)
    metronome = Metronome(background=[task])

    with pytest.raises(ConfigurationError):
        await asyncio.wait_for(metronome.running, patience(10))


async def test_weights_that_failed_are_tried_again_before_the_next_reading_is_due() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        ticks += 1

    async def fail_often() -> None:
        if setter.looks <= failures:
            raise TransientError("refused")

    # So many that waits which grow would take longer than this test has.
    failures = 20
    setter = FakeSetter(fail_often)
    metronome = Metronome(setter=setter, task=FakeTask(tick), metagraph_interval_s=3600.0, retry_s=0.01)
    await metronome.until(lambda: ticks > 0)
    assert not await metronome.orchestrator.refresh_and_set_weights()
    await metronome.until(lambda: setter.looks == failures + 1)
    before = ticks
    await metronome.until(lambda: ticks >= before + 5)
    await metronome.end()

    assert setter.looks == failures + 1  # what succeeded waits for the next reading
    assert metronome.errors == ["TransientError"] * failures


async def test_vector_that_is_open_is_looked_up_when_the_chain_can_tell_more() -> None:
    async def know_after_twenty() -> None:
        setter.look_in_s = 0.01 if setter.looks < 20 else None

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        ticks += 1

    setter = FakeSetter(know_after_twenty)
    metronome = Metronome(setter=setter, task=FakeTask(tick), metagraph_interval_s=3600.0)
    await metronome.until(lambda: ticks > 0)
    await metronome.orchestrator.refresh_and_set_weights()
    await metronome.until(lambda: setter.looks == 20)
    await metronome.end()

    assert setter.looks == 20
    assert metronome.errors == []
