"""The campaign with two validators: its faults, and what it counts as asked or signed twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from campaigns.standby import faults_of
from campaigns.standby_faults.audit import Move
from campaigns.standby_faults.playing import KILL, PAUSE_ALL, PAUSE_ENGINE
from campaigns.standby_faults.questions import Asked, count_doubled
from campaigns.standby_faults.services import signed

RUN = "2026-03-25T00Z"
ACCEPTED = Move(at=10.0, is_asked=True, is_frozen=False)
POSTPONED = Move(at=20.0, is_asked=True, is_frozen=False)
FROZEN = Move(at=30.0, is_asked=True, is_frozen=True)
TAKEN_AT = [0.0, 5.0, 25.0]


def judged(question: str, *answered_at: float) -> Asked:
    asked = Asked()
    moves = {RUN: [ACCEPTED, POSTPONED, FROZEN]}
    count_doubled(asked, "miner", {(RUN, question): answered_at}, moves, TAKEN_AT)
    return asked


def test_half_of_the_pauses_stop_the_engine_alone_and_a_seed_decides_the_order() -> None:
    faults = faults_of(5, 2, Random(1))

    assert Counter(faults) == {PAUSE_ALL: 3, PAUSE_ENGINE: 2, KILL: 2}
    assert faults == faults_of(5, 2, Random(1))
    assert faults_of(40, 20, Random(1)) != faults_of(40, 20, Random(2))


@pytest.mark.parametrize(("question", "moments"), [("initiate", (9.0,)), ("poll", (11.0, 21.0))])
def test_questions_between_commits_are_well(question: str, moments: tuple[float, ...]) -> None:
    asked = judged(question, *moments)

    assert (asked.questions, asked.uncommitted, asked.doubled) == (len(moments), 0, [])


@pytest.mark.parametrize(("question", "moments"), [("initiate", (4.0, 6.0)), ("poll", (24.0, 26.0))])
def test_question_again_after_a_takeover_is_allowed_before_the_commit(
    question: str, moments: tuple[float, ...]
) -> None:
    asked = judged(question, *moments)

    assert (asked.uncommitted, asked.doubled) == (1, [])


@pytest.mark.parametrize(
    ("question", "moments", "words"),
    [
        ("initiate", (9.0, 10.5), "0.50 s after the commit"),
        ("poll", (21.0, 31.0), "1.00 s after the commit"),
        ("initiate", (7.0, 8.0), "twice in 1.00 s by one holder"),
    ],
)
def test_other_questions_are_doubled(question: str, moments: tuple[float, ...], words: str) -> None:
    (line,) = judged(question, *moments).doubled

    assert words in line


def test_epoch_with_two_different_vectors_is_named(tmp_path: Path) -> None:
    sent = [[1, [0, 1], [5, 6]], [1, [0, 1], [5, 6]], [2, [0, 1], [5, 6]], [2, [0, 1], [6, 5]]]
    (tmp_path / "vectors.json").write_text(json.dumps(sent))

    found = signed(tmp_path)

    assert (found.extrinsics, found.epochs, found.doubled) == (4, 2, (2,))
