"""What the IO-Engine writes down for its successor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gaia.validator.app.meeting.heartbeat import Heart, last_beat
from gaia.validator.app.meeting.lease_book import Crash, CrashHistory, LeaseBook, discard, last_held
from gaia.validator.utils.identities import JobId, worker_id

NEVER = 4e9
A, B = map(JobId, "ab")
FIRST, SECOND, THIRD = (worker_id(0, number) for number in (1, 2, 3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases"


def test_lease_is_read_by_the_next_engine_until_it_is_released(path: Path) -> None:
    book = LeaseBook(path)
    book.lease(FIRST, JobId("day1/réunion"), 2, NEVER)
    book.lease(SECOND, B, 1, NEVER)

    book.release(SECOND)

    (held,) = LeaseBook(path).holdings()
    assert (held.worker, held.job_id, held.attempt, held.deadline_at) == (FIRST, "day1/réunion", 2, NEVER)


def test_lease_outlives_a_process_that_is_killed_in_the_next_instruction(path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from gaia.validator.app.meeting.lease_book import LeaseBook\n"
        "book = LeaseBook(Path(sys.argv[1]))\n"
        "book.lease('0.1', 'a', 1, 4e9); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)])

    assert [held.job_id for held in LeaseBook(path).holdings()] == ["a"]


def test_next_lease_of_a_worker_takes_the_place_of_the_last(path: Path) -> None:
    book = LeaseBook(path)
    for job_id in (A, B):
        book.lease(FIRST, job_id, 1, NEVER)

    assert [held.job_id for held in book.holdings()] == ["b"]


def test_what_a_dead_worker_held_last_can_still_be_read(path: Path) -> None:
    book = LeaseBook(path)
    book.lease(FIRST, A, 1, NEVER)

    book.bury(FIRST)
    book.lease(SECOND, B, 1, NEVER)

    assert last_held(path, FIRST) == "a"
    assert last_held(path, SECOND) == "b"
    assert last_held(path, THIRD) == ""
    assert [held.worker for held in book.holdings()] == [SECOND]


def test_places_of_the_dead_are_used_again_without_end(path: Path) -> None:
    book = LeaseBook(path)
    for number in range(5000):
        book.lease(worker_id(0, number), A, 1, NEVER)
        book.bury(worker_id(0, number))

    assert book.holdings() == []
    book.lease(FIRST, A, 1, NEVER)
    assert len(LeaseBook(path).holdings()) == 1


def test_job_with_an_endless_name_is_not_booked(path: Path) -> None:
    book = LeaseBook(path)

    book.lease(FIRST, JobId("x" * 193), 1, NEVER)

    assert book.holdings() == []


def test_stories_outlive_the_engine_and_the_leases(path: Path) -> None:
    history = CrashHistory().with_crash(Crash(worker=FIRST, attempt=1, at=NEVER, cause="memory"))
    LeaseBook(path).record_crashes(A, history)

    discard(path)

    assert LeaseBook(path).crash_histories == {A: history}
    LeaseBook(path).record_crashes(A, None)
    assert LeaseBook(path).crash_histories == {}


def test_story_of_long_ago_is_forgotten(path: Path) -> None:
    LeaseBook(path).record_crashes(A, CrashHistory().with_crash(Crash(worker=FIRST, attempt=1, at=0.0)))

    assert LeaseBook(path).crash_histories == {}


def test_damaged_stories_are_no_reason_not_to_start(path: Path) -> None:
    path.with_name("leases.stories").write_bytes(b"\xc1")

    assert LeaseBook(path).crash_histories == {}


def test_death_that_was_told_is_not_told_again() -> None:
    crash = Crash(worker=FIRST, attempt=1, at=0.0)

    assert CrashHistory().with_crash(crash).with_crash(crash).crashes == 1


def test_cause_that_acquits_the_unit_takes_the_crash_back() -> None:
    history = CrashHistory().with_crash(Crash(worker=FIRST, attempt=1, at=0.0))

    acquitted = history.explained(FIRST, "its fork server died", blames_unit=False)

    assert (acquitted.crashes, acquitted.tries) == (0, 1)
    assert str(acquitted) == "attempt 1: its fork server died"


def test_heart_beats_for_its_own_process_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 17)
    assert last_beat(tmp_path / "beat", 17) is None
    heart = Heart(tmp_path / "beat")
    assert last_beat(tmp_path / "beat", 17) is None

    heart.beat()
    heart.close()

    assert last_beat(tmp_path / "beat", 17)
    assert last_beat(tmp_path / "beat", 18) is None
