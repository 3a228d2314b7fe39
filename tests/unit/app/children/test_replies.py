"""For how long a server has answered nobody, decided from questions and answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaia.validator.app.children.replies import Replies


@pytest.fixture
def replies() -> Replies:
    return Replies(every_s=5.0)


def test_first_question_is_due_at_once_and_each_further_one_after_the_interval(replies: Replies) -> None:
    assert replies.is_due(0.0)

    replies.asked(0.0)

    assert not replies.is_due(4.9)
    assert replies.is_due(5.0)


def test_server_that_was_not_asked_is_not_silent(replies: Replies) -> None:
    assert replies.unanswered_s(1e9) == 0.0


def test_silence_begins_with_the_first_question_that_nothing_answers(replies: Replies) -> None:
    for moment in (0.0, 5.0, 10.0):
        replies.asked(moment)

    assert replies.unanswered_s(12.0) == 12.0

    replies.answered(5.0)

    assert replies.unanswered_s(12.0) == 2.0


def test_answer_to_a_later_question_settles_one_that_hangs(replies: Replies) -> None:
    replies.asked(0.0)
    replies.asked(5.0)

    replies.answered(5.0)

    assert replies.unanswered_s(60.0) == 0.0


def test_late_answer_to_an_early_question_does_not_settle_later_ones(replies: Replies) -> None:
    for moment in (0.0, 5.0, 10.0):
        replies.asked(moment)
    replies.answered(5.0)

    replies.answered(0.0)

    assert replies.unanswered_s(11.0) == 1.0


@given(st.lists(st.tuples(st.floats(0.1, 100.0), st.booleans()), max_size=30))
def test_server_that_answers_each_question_in_time_is_never_silent_for_longer_than_that(
    history: list[tuple[float, bool]],
) -> None:
    replies, now, asked_at = Replies(every_s=5.0), 0.0, 0.0
    for pause_s, is_answered in history:
        replies.asked(now)
        asked_at = now if is_answered or now == 0.0 else asked_at
        if is_answered:
            replies.answered(now)
        now += pause_s

    assert replies.unanswered_s(now) <= now - asked_at
