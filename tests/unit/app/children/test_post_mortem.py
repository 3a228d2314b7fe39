"""What a child died of, in a word or two."""

from __future__ import annotations

import signal

import pytest

from gaia.validator.app.children.post_mortem import cause_of
from gaia.validator.app.supervision import Role


@pytest.mark.parametrize(
    ("exit_code", "because", "cause"),
    [
        (-signal.SIGALRM, "private memory above the hard limit", "memory"),
        (-signal.SIGKILL, "did not stop in time", "drain"),
        (-signal.SIGKILL, "not ready in time", "startup"),
        (-signal.SIGKILL, "silent", "silent"),
        (-signal.SIGALRM, "", "deadline"),
        (-signal.SIGSEGV, "", "signal 11 (SIGSEGV)"),
        (-40, "", "signal 40"),
        (255, "", "its fork server died"),
        (3, "", "exit 3"),
    ],
)
def test_cause_is_told_from_what_we_did_or_else_from_the_exit_code(
    exit_code: int, because: str, cause: str
) -> None:
    assert cause_of(Role.WORKER, exit_code, because, was_ready=True) == cause


def test_child_that_ended_before_it_was_ready_died_of_its_start() -> None:
    assert cause_of(Role.ENGINE, 1, "", was_ready=False) == "startup, exit 1"


def test_alarm_is_a_deadline_for_workers_only() -> None:
    assert cause_of(Role.ENGINE, -signal.SIGALRM, "", was_ready=True) == "signal 14 (SIGALRM)"
