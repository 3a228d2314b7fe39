"""Every background task: what its failure, its deadline, and a cancellation that it ignores come to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gaia.validator.core.background.task import BackgroundTask
from gaia.validator.utils.errors import DeadlineExceeded, GaiaError, OwnFailure
from tests.support.background import NAMES, Beats, tasks_without_a_world
from tests.support.repository import ROOT


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses connections: it is bound, and nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield int(probe.getsockname()[1])


@pytest.fixture
def tasks(tmp_path: Path, closed_port: int) -> dict[str, BackgroundTask]:
    return tasks_without_a_world(tmp_path, closed_port)


def test_tasks_are_those_of_the_plan(tasks: dict[str, BackgroundTask]) -> None:
    assert tuple(tasks) == NAMES


@pytest.mark.parametrize("name", NAMES)
async def test_task_whose_world_is_away_fails_and_is_counted(
    tasks: dict[str, BackgroundTask], name: str
) -> None:
    beats = Beats(tasks[name])

    await beats.run(tasks[name])

    ((job, error),) = beats.errors
    assert job == name
    assert isinstance(error, GaiaError | RuntimeError)
    assert "hush" not in str(error)
    assert beats.status(name).failures == 1


@pytest.mark.parametrize("name", NAMES)
async def test_task_that_failed_runs_again_at_the_next_beat(
    tasks: dict[str, BackgroundTask], name: str
) -> None:
    beats = Beats(tasks[name])

    await beats.run(tasks[name])
    await beats.run(tasks[name])

    assert (beats.status(name).failures, beats.status(name).skips) == (2, 0)


@pytest.mark.parametrize("name", NAMES)
async def test_task_past_its_deadline_is_cancelled_and_has_failed(
    tasks: dict[str, BackgroundTask], name: str
) -> None:
    cancelled = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    assert tasks[name].deadline_s is not None
    task = replace(tasks[name], run=hang, deadline_s=0.01)
    beats = Beats(task)
    await beats.run(task)

    ((_, error),) = beats.errors
    assert cancelled.is_set()
    assert isinstance(error, DeadlineExceeded)
    assert beats.status(name).failures == 1


@pytest.mark.parametrize("name", NAMES)
async def test_task_that_ignores_its_cancellation_is_abandoned_and_delays_no_other(
    tasks: dict[str, BackgroundTask], name: str
) -> None:
    release = asyncio.Event()
    ran: list[str] = []

    async def ignore() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def note() -> None:
        ran.append("other")

    stubborn = replace(tasks[name], run=ignore, deadline_s=0.01)
    other = BackgroundTask(name="other", interval_s=1.0, deadline_s=1.0, run=note)
    beats = Beats(stubborn, other)
    with capture_logs() as logs:
        beats.runner.beat(stubborn)
        await beats.until(lambda: beats.status(name).is_abandoned)
        # Not twice at a time.
        beats.runner.beat(stubborn)
        await beats.run(other)
        in_hand = beats.runner.in_hand()
        release.set()
        await beats.until(lambda: not beats.runner.left_behind())

    status = beats.status(name)
    assert ran == ["other"]
    assert in_hand == set(), "a stop would wait for it"
    assert (status.failures, status.skips, status.is_abandoned) == (1, 1, False)
    assert [line["event"] for line in logs] == ["job_abandoned", "abandoned_job_ended"]
    await beats.run(replace(stubborn, run=note))
    assert ran == ["other", "other"]


@pytest.mark.parametrize("name", NAMES)
async def test_task_is_overdue_after_two_beats_that_failed_and_their_deadline(
    tasks: dict[str, BackgroundTask], name: str
) -> None:
    task = tasks[name]
    assert task.deadline_s is not None

    assert task.deadline_s <= max(task.interval_s, 60.0)
    assert task.overdue_after_s == 2 * task.interval_s + task.deadline_s


@pytest.mark.parametrize("name", NAMES)
def test_page_of_the_tasks_has_the_times_of_each(tasks: dict[str, BackgroundTask], name: str) -> None:
    page = (ROOT / "docs" / "reference" / "background-tasks.md").read_text()
    (row,) = [line.split("|") for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    task = tasks[name]
    assert task.deadline_s is not None

    assert row[2].strip() == _in_words(task.interval_s) + (", and at the start" if task.at_start else "")
    assert row[4].strip() == _in_words(task.deadline_s)


def _in_words(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds > 120 else f"{seconds:g} s"


async def test_beat_during_a_run_is_skipped_and_counted() -> None:
    go_on = asyncio.Event()

    async def wait() -> None:
        await go_on.wait()

    task = BackgroundTask(name="job", interval_s=1.0, deadline_s=None, run=wait)
    beats = Beats(task)
    beats.runner.beat(task)
    beats.runner.beat(task)
    beats.runner.beat(task)
    go_on.set()
    await beats.until(lambda: not beats.runner.left_behind())

    status = beats.status("job")
    assert (status.skips, status.failures) == (2, 0)
    assert beats.errors == []


async def test_task_that_told_of_its_failure_itself_is_counted_and_not_told_again() -> None:
    async def fail() -> bool:
        return False

    task = BackgroundTask(name="job", interval_s=1.0, deadline_s=None, run=fail)
    beats = Beats(task)
    await beats.run(task)

    assert (beats.status("job").failures, beats.errors) == (1, [])


async def test_run_that_is_cancelled_from_within_has_failed() -> None:
    async def give_up() -> None:
        raise asyncio.CancelledError

    task = BackgroundTask(name="job", interval_s=1.0, deadline_s=None, run=give_up)
    beats = Beats(task)
    await beats.run(task)

    assert beats.status("job").failures == 1


async def test_late_run_that_ends_in_an_error_counts_once() -> None:
    async def fail_late() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise OwnFailure("interrupted") from None

    task = BackgroundTask(name="job", interval_s=1.0, deadline_s=0.01, run=fail_late)
    beats = Beats(task)
    await beats.run(task)

    assert beats.status("job").failures == 1
    assert [type(error) for _, error in beats.errors] == [DeadlineExceeded]


async def test_nothing_starts_after_a_stop() -> None:
    ran: list[str] = []

    async def note() -> None:
        ran.append("run")

    task = BackgroundTask(name="job", interval_s=1.0, deadline_s=None, run=note)
    beats = Beats(task)
    beats.runner.stop()
    beats.runner.beat(task)
    await asyncio.sleep(0)

    assert ran == []
    assert beats.status("job").skips == 0
