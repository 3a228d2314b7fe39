"""Tests of the metronome: which readings it believes, what ends it, and how it stops."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from gaia.validator.core.chain.metagraph import MetagraphKeeper
from gaia.validator.utils.errors import (
    ConfigurationError,
    ExitCode,
    OwnFailure,
    TransientError,
)
from tests.support.metronome import (
    AWAY,
    DISK,
    MISSING,
    NOT_REGISTERED,
    WELL,
    WITHOUT_US,
    FakeSetter,
    FakeSource,
    FakeTask,
    Metronome,
    Reading,
)
from tests.support.patience import patience

PATIENCE_S = 0.05


@pytest.mark.parametrize("glitch", [MISSING, WITHOUT_US, AWAY])
async def test_start_outlives_one_bad_answer(glitch: Reading) -> None:
    keeper = MetagraphKeeper(FakeSource(glitch, WELL))

    assert await keeper.first(PATIENCE_S) == WELL


@pytest.mark.parametrize(
    ("reading", "code"),
    [
        (MISSING, ExitCode.BAD_SETTING),
        (WITHOUT_US, ExitCode.HOTKEY_NOT_REGISTERED),
        (AWAY, ExitCode.CHAIN_UNREACHABLE),
    ],
)
async def test_start_ends_once_patience_is_over_and_the_last_readings_agree(
    reading: Reading, code: ExitCode
) -> None:
    source = FakeSource(reading)

    with pytest.raises(ConfigurationError) as raised:
        await MetagraphKeeper(source).first(PATIENCE_S)

    assert raised.value.exit_code is code
    assert source.asked > 1


async def test_start_outlives_a_signer_that_fails_longer_than_the_chain_may() -> None:
    begun = asyncio.get_running_loop().time()
    silent = OwnFailure("the chain signer did not answer in 9 s")

    with pytest.raises(ConfigurationError, match="did not answer in 9 s") as raised:
        await MetagraphKeeper(FakeSource(silent)).first(PATIENCE_S)

    assert raised.value.exit_code is ExitCode.CHAIN_UNREACHABLE
    assert asyncio.get_running_loop().time() - begun > 3 * PATIENCE_S
    assert await MetagraphKeeper(FakeSource(silent, silent, WELL)).first(0.0) == WELL


async def test_verdict_on_a_hotkey_needs_three_readings_in_a_row_however_short_patience_is() -> None:
    source = FakeSource(WITHOUT_US, MISSING, WITHOUT_US, MISSING, WITHOUT_US, WITHOUT_US, WELL)

    assert await MetagraphKeeper(source).first(0.0) == WELL


@pytest.mark.parametrize("glitch", [MISSING, WITHOUT_US, AWAY])
async def test_bad_reading_never_replaces_the_last_good_one(glitch: Reading) -> None:
    keeper = MetagraphKeeper(FakeSource(WELL, glitch))
    await keeper.refresh()

    with pytest.raises(TransientError):
        await keeper.refresh()

    assert keeper.latest() == WELL


async def test_hotkey_that_three_readings_in_a_row_lack_is_lost_until_one_has_it_again() -> None:
    keeper = MetagraphKeeper(FakeSource(WELL, WITHOUT_US, WITHOUT_US, WELL, *3 * [WITHOUT_US], WELL))
    seen = []
    for _ in range(8):
        with suppress(TransientError):
            await keeper.refresh()
        seen.append(keeper.latest())

    assert seen == [*6 * [WELL], WITHOUT_US, WELL]


@pytest.mark.parametrize("glitch", [MISSING, WITHOUT_US, AWAY, NOT_REGISTERED])
async def test_no_answer_of_the_chain_ends_the_engine_and_weights_go_on_being_tried(glitch: Reading) -> None:
    seen = asyncio.Event()

    async def look() -> None:
        if setter.looks >= 5:
            seen.set()
        raise NOT_REGISTERED if glitch is NOT_REGISTERED else AWAY

    setter = FakeSetter(look)
    metronome = Metronome(WELL, WELL if glitch is NOT_REGISTERED else glitch, setter=setter)
    await asyncio.wait_for(seen.wait(), patience(10))
    await metronome.end()

    assert metronome.errors


async def test_chain_that_fails_and_recovers_is_told_to_its_incident() -> None:
    metronome = Metronome(WELL, MISSING, WELL)
    async with asyncio.timeout(patience(10)):
        while metronome.incident.told[-1:] != [None] or len(metronome.incident.told) < 3:
            await asyncio.sleep(0.001)
    await metronome.end()

    assert metronome.incident.told[:3] == [None, str(MISSING), None]


async def test_what_only_the_operator_can_mend_here_ends_the_engine() -> None:
    async def full() -> None:
        raise DISK

    metronome = Metronome(task=FakeTask(full))

    with pytest.raises(ConfigurationError) as raised:
        await asyncio.wait_for(metronome.running, patience(10))
    assert raised.value.exit_code is ExitCode.DATA_DIR_FULL


@pytest.mark.parametrize("error", [RuntimeError("bug"), OwnFailure("pool"), TransientError("archive")])
async def test_job_that_breaks_goes_on_at_the_next_beat(error: Exception) -> None:
    beats = 0
    again = asyncio.Event()

    async def work() -> None:
        nonlocal beats
        beats += 1
        if beats > 2:
            again.set()
        raise error

    metronome = Metronome(task=FakeTask(work))
    await asyncio.wait_for(again.wait(), patience(10))
    await metronome.end()


async def test_stop_waits_for_what_is_in_hand_and_begins_nothing_more() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    story: list[str] = []

    async def submit() -> None:
        story.append("signed")
        begun.set()
        await go_on.wait()
        story.append("read back")

    with capture_logs() as logs:
        metronome = Metronome(setter=FakeSetter(submit))
        await asyncio.wait_for(begun.wait(), patience(10))
        metronome.stop.set()
        # Enough turns of the loop and beats for a hasty end, or for another job to begin.
        await asyncio.sleep(0.05)
        assert not metronome.running.done()
        go_on.set()
        await metronome.end()

    assert story == ["signed", "read back"]
    assert {"error", "critical"}.isdisjoint(line["log_level"] for line in logs)


async def test_stop_lets_the_work_of_tasks_end() -> None:
    closed: list[str] = []

    async def close() -> None:
        await asyncio.sleep(0.01)
        closed.append("weather")

    metronome = Metronome(task=FakeTask(close=close))
    await metronome.end()

    assert closed == ["weather"]


async def test_task_that_cannot_be_closed_does_not_keep_the_engine_from_ending() -> None:
    async def close() -> None:
        raise OwnFailure("database")

    metronome = Metronome(task=FakeTask(close=close))

    await metronome.end()


@pytest.mark.parametrize("stubborn", [False, True])
async def test_work_that_does_not_end_in_time_is_cut_short_after_workers_were_let_go(
    caplog: pytest.LogCaptureFixture, *, stubborn: bool
) -> None:
    story: list[str] = []
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            story.append("cancelled")
            if not stubborn:
                raise

    async def let_go() -> None:
        story.append("workers let go")

    with capture_logs() as logs:
        metronome = Metronome(task=FakeTask(work), drain_timeout_s=0.1, let_go=let_go)
        await asyncio.wait_for(begun.wait(), patience(10))
        await metronome.end()

    assert story == ["workers let go", "cancelled"]
    assert {"error", "critical"}.isdisjoint(line["log_level"] for line in logs)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
