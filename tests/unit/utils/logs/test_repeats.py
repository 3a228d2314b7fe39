"""A line that repeats an earlier one is withheld, and counted."""

from __future__ import annotations

from gaia.validator.utils.logs.repeats import Repeats


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_first_line_passes_and_its_repetitions_do_not() -> None:
    repeats = Repeats()

    assert [repeats.heard("chain", "down") for _ in range(3)] == [0, None, None]


def test_line_with_other_words_passes_at_once_with_the_number_withheld() -> None:
    repeats = Repeats()
    for _ in range(4):
        repeats.heard("chain", "down")

    assert repeats.heard("chain", "slow") == 3
    assert repeats.heard("chain", "down") == 0


def test_unchanged_line_passes_once_an_hour_with_the_number_withheld() -> None:
    clock = _Clock()
    repeats = Repeats(every_s=3600.0, monotonic=clock)

    heard = []
    for clock.now in (0.0, 1800.0, 3599.0, 3600.0, 7199.0, 7200.0):
        heard.append(repeats.heard("chain", "down"))

    assert heard == [0, None, None, 2, None, 1]


def test_subjects_do_not_know_of_each_other() -> None:
    repeats = Repeats()

    assert [repeats.heard(subject, "down") for subject in ("chain", "signer", "chain")] == [0, 0, None]


def test_memory_is_bounded_and_the_subject_longest_unheard_goes_first() -> None:
    repeats = Repeats(capacity=2)

    heard = [repeats.heard(subject) for subject in ("a", "b", "a", "c", "a", "b")]

    assert heard == [0, 0, None, 0, None, 0]
