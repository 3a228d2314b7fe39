"""What is remembered of children that ended, and what is published of it."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any, cast

import pytest

from gaia.validator.app.children.deaths import Deaths
from gaia.validator.app.children.spawning import ChildHandle
from gaia.validator.app.supervision import FORK_SERVER_DIED, Child, Limits, Role
from gaia.validator.app.worker_guard import Note

LIMITS = Limits(soft_mib=1.0, hard_mib=2.0, drain_timeout_s=1.0, recycle_grace_s=1.0)


def a_handle(role: Role = Role.WORKER, notes: Any = None, **facts: Any) -> ChildHandle:
    known: dict[str, Any] = {"role": role, "seat": 0, "pid": 77, "started_at": 10.0, "is_ready": True}
    child = Child(**known | facts)
    return ChildHandle(child, 3, cast("Any", None), -1, notes)


def test_child_that_died_is_reported_and_its_next_start_is_a_restart(tmp_path: Path) -> None:
    deaths = Deaths(tmp_path)

    deaths.note_start(Role.WORKER, 0)
    deaths.note(a_handle(), -signal.SIGSEGV, 12.5, LIMITS)
    deaths.note_start(Role.WORKER, 0)
    deaths.note_start(Role.WORKER, 1)

    board = deaths.board([a_handle(pid=78), a_handle(Role.ENGINE, pid=79)])
    assert [(death.at, death.lived_s) for death in deaths.remembered] == [(12.5, 2.5)]
    assert [(report.worker, report.pid) for report in board.deaths] == [("0.3", 77)]
    assert board.restarts == {"compute_worker": 1}
    assert (board.workers, board.processes) == ({"0.3": 78}, {"io_engine": 79})


def test_memory_that_was_never_measured_is_not_told_as_none_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    deaths = Deaths(tmp_path)

    deaths.note(a_handle(Role.SIGNER), -signal.SIGKILL, 12.5, LIMITS)
    deaths.note(a_handle(private_mib=80.04), -signal.SIGKILL, 12.5, LIMITS)

    said = [vars(record)["values"] for record in caplog.records if record.message == "child_ended"]
    assert [values.get("private_mib", "unknown") for values in said] == ["unknown", 80.0]
    assert [report.private_mib for report in deaths.board([]).deaths] == [None, 80.0]


def test_child_that_ended_as_it_was_told_is_no_report(tmp_path: Path) -> None:
    deaths = Deaths(tmp_path)

    deaths.note(a_handle(kill_at=20.0), 1, 12.0, LIMITS)
    deaths.note(a_handle(), 0, 12.0, LIMITS)

    assert deaths.board([]).deaths == []


def test_start_that_failed_is_remembered_as_a_death(tmp_path: Path) -> None:
    deaths = Deaths(tmp_path)

    deaths.note_failed_start(Role.WORKER, 2, 10.0, "no more processes", LIMITS)

    assert [(death.seat, death.exit_code) for death in deaths.remembered] == [(2, FORK_SERVER_DIED)]


def heard(role: Role, words: bytes) -> tuple[bool, Child]:
    """Let a child that is not ready say `words`; return whether it is listened to further, and what is known of it."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as notes:
        os.write(writer, words)
        os.close(writer)
        handle = a_handle(role, notes, is_ready=False)
        return handle.hear(), handle.child


def test_notes_of_a_worker_say_that_it_is_ready_admitted_and_why_it_is_due() -> None:
    is_open, child = heard(Role.WORKER, Note.CONNECTED.value + Note.ADMITTED.value + b"?" + Note.IDLE.value)

    assert is_open
    assert (child.is_ready, child.is_admitted, child.due) == (True, True, "idle")


def test_any_note_of_another_child_says_that_it_is_ready() -> None:
    assert heard(Role.SIGNER, b"r")[1].is_ready


def test_child_that_hung_up_or_says_too_much_is_not_listened_to() -> None:
    assert heard(Role.WORKER, b"")[0] is False
    assert heard(Role.WORKER, Note.CONNECTED.value * 17)[0] is False
