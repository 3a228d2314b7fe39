"""A forecast that met a failure of ours waits, longer each time, and is held meanwhile."""

from gaia.tasks.defined_tasks.weather.own_failures import LONGEST_WAIT_S, OwnFailures

KEY = ("2026-03-25T00Z", "5Miner")


class Seconds:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_forecast_is_held_until_its_wait_is_over():
    seconds = Seconds()
    failures = OwnFailures(seconds)

    failures.note(KEY)

    assert failures.holds(KEY)
    assert not failures.holds(("2026-03-25T00Z", "5Other"))
    seconds.now = 1.0
    assert not failures.holds(KEY)


def test_each_wait_is_twice_the_last_and_none_is_longer_than_five_minutes():
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


def test_failures_in_a_row_are_timed_from_the_first_until_a_success():
    seconds = Seconds()
    failures = OwnFailures(seconds)

    assert failures.note(KEY) == 0.0
    seconds.now = 50.0
    assert failures.note(KEY) == 50.0
    failures.forget(KEY)
    assert failures.note(KEY) == 0.0


def test_one_call_tells_whether_something_failed_or_was_held_since_the_last():
    failures = OwnFailures(Seconds())
    assert not failures.stirred()

    failures.note(KEY)

    assert failures.stirred()
    assert not failures.stirred()
    failures.holds(KEY)
    assert failures.stirred()
