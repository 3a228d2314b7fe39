"""Tallies: closed keys that exist at 0, and durations in buckets."""

from __future__ import annotations

import pytest

from gaia.validator.utils.tallies import Durations, Totals


def test_every_key_exists_at_0_before_anything_happens() -> None:
    assert Totals(["ok", "failed"]).items() == [("ok", 0.0), ("failed", 0.0)]


def test_amounts_add_up_by_key() -> None:
    totals = Totals(["bytes", "calls"])

    totals.add("bytes", 10)
    totals.add("bytes", 5)
    totals.add("calls")

    assert dict(totals.items()) == {"bytes": 15.0, "calls": 1.0}


def test_key_outside_the_closed_set_is_an_error_and_no_new_key() -> None:
    totals = Totals(["ok"])

    with pytest.raises(KeyError):
        totals.add("5Hotkey")

    assert "5Hotkey" not in totals
    assert totals.items() == [("ok", 0.0)]


def test_duration_falls_into_every_bucket_that_is_at_least_as_long() -> None:
    durations = Durations([0.1, 1.0])

    for seconds in (0.05, 0.1, 0.5, 3.0):
        durations.observe(seconds)

    assert durations.buckets() == [(0.1, 2), (1.0, 3), (float("inf"), 4)]
    assert durations.sum_s == pytest.approx(3.65)


def test_body_that_fails_is_timed_too() -> None:
    durations = Durations([60.0])

    with pytest.raises(ZeroDivisionError), durations.timed():
        raise ZeroDivisionError

    assert durations.buckets()[0] == (60.0, 1)
