"""A simulated clock stands still until the validator is idle, and never passes its end."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gaia.validator.core.clock import RealClock, SimulatedClock
from tests.support.patience import patience

START = datetime(2026, 3, 25, 17, 59, tzinfo=UTC)


def a_clock(tmp_path: Path, days: int = 16) -> SimulatedClock:
    return SimulatedClock.create(tmp_path / "clock.json", START, START + timedelta(days=days))


async def test_idle_clock_jumps_to_the_next_due_moment(tmp_path: Path) -> None:
    clock = a_clock(tmp_path)

    await clock.idle_until(START + timedelta(hours=5))

    assert clock.now() == START + timedelta(hours=5)


async def test_clock_never_runs_backwards_or_past_its_end(tmp_path: Path) -> None:
    clock = a_clock(tmp_path, days=1)

    await clock.idle_until(START - timedelta(hours=1))
    assert clock.now() == START

    await clock.idle_until(START + timedelta(days=9))
    assert clock.now() == START + timedelta(days=1)


async def test_clock_with_nothing_due_stands_still(tmp_path: Path) -> None:
    clock = a_clock(tmp_path)

    await clock.idle_until(None)

    assert clock.now() == START


async def test_all_processes_see_one_time(tmp_path: Path) -> None:
    clock = a_clock(tmp_path)
    other = SimulatedClock(tmp_path / "clock.json")

    await clock.idle_until(START + timedelta(minutes=1))

    assert other.now() == START + timedelta(minutes=1)


async def test_clock_waits_for_whoever_holds_it(tmp_path: Path) -> None:
    clock = a_clock(tmp_path)

    with clock.held("miner-1"):
        jump = asyncio.create_task(clock.idle_until(START + timedelta(hours=1)))
        done, _ = await asyncio.wait([jump], timeout=0.05)
        assert not done
        assert clock.now() == START
    await jump

    assert clock.now() == START + timedelta(hours=1)


async def test_hold_of_a_dead_process_counts_for_nothing(tmp_path: Path) -> None:
    clock = a_clock(tmp_path)
    (tmp_path / "clock.json.holds" / "999999999-ghost").touch()

    await clock.idle_until(START + timedelta(hours=1))

    assert clock.now() == START + timedelta(hours=1)


async def test_extended_clock_goes_on(tmp_path: Path) -> None:
    clock = a_clock(tmp_path, days=1)

    clock.extend(START + timedelta(days=2))
    await clock.idle_until(START + timedelta(days=2))

    assert clock.now() == START + timedelta(days=2)


async def test_real_clock_does_not_wait_for_the_future() -> None:
    clock = RealClock()

    await clock.idle_until(clock.now() + timedelta(days=1))

    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=patience(5))
