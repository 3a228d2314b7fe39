"""A forecast that met a failure of ours waits, longer each time, and is held meanwhile."""

from gaia.tasks.defined_tasks.weather.forecasts.own_failures import (
    GIVE_UP_FAILURES,
    GIVE_UP_S,
    LONGEST_WAIT_S,
    OwnFailures,
)

KEY = ("2026-03-25T00Z", "5Miner")
OTHER = ("2026-03-25T00Z", "5Other")


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_forecast_is_held_until_its_wait_is_over() -> None:
    seconds = Seconds()
    failures = OwnFailures(seconds)

    failures.note(KEY)

    assert failures.holds(KEY)
    assert not failures.holds(("2026-03-25T00Z", "5Other"))
    seconds.now = 1.0
    assert not failures.holds(KEY)


def test_each_wait_is_twice_the_last_and_none_is_longer_than_five_minutes() -> None:
    seconds, waits = Seconds(), []
    failures = OwnFailures(seconds)

    for _ in range(12):
        failures.note(KEY)
        began = seconds.now
        while failures.holds(KEY):
            seconds.now += 1.0
        waits.append(seconds.now - began)

    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == max(waits) == LONGEST_WAIT_S


def test_outage_that_hits_all_alike_ends_no_forecast_however_long_it_lasts() -> None:
    seconds = Seconds()
    failures = OwnFailures(seconds)
    failures.forget(OTHER)

    for _ in range(1000):
        seconds.now += 300.0
        assert not failures.note(KEY)
        assert not failures.note(OTHER)


def test_one_more_failure_after_a_long_outage_ends_no_forecast() -> None:
    seconds = Seconds()
    failures = OwnFailures(seconds)
    failures.note(KEY)
    seconds.now += 2 * GIVE_UP_S
    failures.forget(OTHER)

    assert not failures.note(KEY)


def test_forecast_that_fails_for_a_day_while_others_get_on_is_ended() -> None:
    seconds = Seconds()
    failures = OwnFailures(seconds)
    failures.note(KEY)

    ended = []
    for _ in range(GIVE_UP_FAILURES):
        seconds.now += GIVE_UP_S / GIVE_UP_FAILURES
        failures.forget(OTHER)
        seconds.now += 1.0
        ended.append(failures.note(KEY))

    assert ended == [False] * (GIVE_UP_FAILURES - 1) + [True]


def test_success_begins_anew() -> None:
    seconds = Seconds()
    failures = OwnFailures(seconds)
    failures.note(KEY)
    failures.forget(KEY)

    failures.note(KEY)
    seconds.now += 1.0

    assert not failures.holds(KEY)


def test_one_call_tells_whether_something_failed_or_was_held_since_the_last() -> None:
    failures = OwnFailures(Seconds())
    assert not failures.stirred()

    failures.note(KEY)

    assert failures.stirred()
    assert not failures.stirred()
    failures.holds(KEY)
    assert failures.stirred()
