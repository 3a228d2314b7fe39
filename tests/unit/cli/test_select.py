"""The words of the command line mean one thing, or a sentence says why not."""

from datetime import UTC, datetime, timedelta

import pytest

from gaia.cli.select import NotThere, miner_named, runs_named
from gaia.validator.db.history import RunSummary

FIRST = datetime(2026, 3, 30, tzinfo=UTC)
HOTKEYS = ["5GrwvaEF", "5GrwvaXX", "5Fother1"]


def a_run(days):
    return RunSummary(
        run_id=f"{FIRST + timedelta(days=days):%Y-%m-%dT%HZ}",
        init_time=FIRST + timedelta(days=days),
        rule_set="gaia-2.9",
        state="open",
        opened_at=FIRST,
        completed_at=None,
        contract=None,
        forecasts=0,
        scored=0,
        rejected=0,
        excused=0,
    )


RUNS = [a_run(days) for days in range(4)]
FORECASTS = [{"hotkey": hotkey, "uid": uid} for uid, hotkey in enumerate(HOTKEYS)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["all"], [0, 1, 2, 3]),
        (["last"], [3]),
        (["last:2"], [2, 3]),
        (["2026-04-01T00Z"], [2]),
        (["2026-04"], [2, 3]),
        (["last", "2026-03-30"], [0, 3]),
    ],
)
def test_runs_are_found_oldest_first(names, expected):
    assert runs_named(names, RUNS) == [RUNS[place] for place in expected]


@pytest.mark.parametrize("name", ["2027", "last:0", "lastly"])
def test_name_that_means_no_run_is_refused_with_the_newest(name):
    with pytest.raises(NotThere, match="2026-04-02T00Z"):
        runs_named([name], RUNS)


def test_database_without_runs_says_so():
    with pytest.raises(NotThere, match="there are none yet"):
        runs_named(["all"], [])


@pytest.mark.parametrize(("name", "uid"), [("1", 1), ("5Fother1", 2), ("5Foth", 2)])
def test_miner_is_found_by_uid_hotkey_or_its_start(name, uid):
    assert miner_named(name, FORECASTS)["uid"] == uid


@pytest.mark.parametrize("name", ["5Grwva", "5G", "9"])
def test_name_that_means_no_miner_or_several_is_refused(name):
    with pytest.raises(NotThere):
        miner_named(name, FORECASTS)
