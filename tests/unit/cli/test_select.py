"""The words of the command line mean one thing, or a sentence says why not."""

from datetime import UTC, datetime, timedelta

import pytest

from gaia.cli.select import NotThere, miner_named, nothing_scored, runs_named
from gaia.validator.db.history import RunSummary
from gaia.validator.db.states import RunState
from gaia.validator.utils.identities import RunId
from tests.support.stored_rows import a_forecast_row

OPEN = RunState.OPEN
FIRST = datetime(2026, 3, 30, tzinfo=UTC)
HOTKEYS = ["5GrwvaEF", "5GrwvaXX", "5Fother1"]


def a_run(days: int, state: RunState = RunState.COMPLETED, has_scores: bool = True) -> RunSummary:
    return RunSummary(
        run_id=RunId(f"{FIRST + timedelta(days=days):%Y-%m-%dT%HZ}"),
        init_time=FIRST + timedelta(days=days),
        rule_set="gaia-2.9",
        state=state,
        opened_at=FIRST,
        completed_at=None,
        contract=None,
        forecasts=0,
        unfrozen=0,
        scored=0,
        rejected=0,
        excused=0,
        has_scores=has_scores,
    )


RUNS = [a_run(days) for days in range(4)]
FORECASTS = [a_forecast_row(hotkey=hotkey, uid=uid) for uid, hotkey in enumerate(HOTKEYS)]


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
def test_runs_are_found_oldest_first(names: list[str], expected: list[int]) -> None:
    assert runs_named(names, RUNS) == [RUNS[place] for place in expected]


@pytest.mark.parametrize("name", ["2027", "last:0", "lastly"])
def test_name_that_means_no_run_is_refused_with_the_newest(name: str) -> None:
    with pytest.raises(NotThere, match="2026-04-02T00Z"):
        runs_named([name], RUNS)


def test_database_without_runs_says_so() -> None:
    with pytest.raises(NotThere, match="there are none yet"):
        runs_named(["all"], [])


@pytest.mark.parametrize(("name", "uid"), [("1", 1), ("5Fother1", 2), ("5Foth", 2)])
def test_miner_is_found_by_uid_hotkey_or_its_start(name: str, uid: int) -> None:
    assert miner_named(name, FORECASTS).uid == uid


@pytest.mark.parametrize("name", ["5Grwva", "5G", "9"])
def test_name_that_means_no_miner_or_several_is_refused(name: str) -> None:
    with pytest.raises(NotThere):
        miner_named(name, FORECASTS)


@pytest.mark.parametrize(
    ("runs", "name", "expected", "note"),
    [
        pytest.param(
            [a_run(0), a_run(1), a_run(2, OPEN), a_run(3, OPEN, False)],
            *(
                "last",
                [1],
                "last means 2026-03-31T00Z, the newest with final scores; 2 newer have none yet",
            ),
            id="open runs are newer",
        ),
        pytest.param(
            [a_run(0), a_run(1), a_run(2, OPEN)],
            *(
                "last:2",
                [0, 1],
                "last:2 means 2026-03-30T00Z to 2026-03-31T00Z, the newest with final scores; 1 newer",
            ),
            id="two of them",
        ),
        pytest.param(
            [a_run(0), a_run(1, has_scores=False)],
            *("last", [0], "last means 2026-03-30T00Z, the newest with final scores"),
            id="the newest ended without a score",
        ),
        pytest.param(
            [a_run(0, OPEN), a_run(1, OPEN, False)],
            *("last", [0], "last means 2026-03-30T00Z: no run is finished yet, so no score of it is final"),
            id="none is finished",
        ),
        pytest.param([a_run(0, OPEN, False)], "last", [0], "", id="nothing is scored"),
        pytest.param([a_run(0), a_run(1)], "last", [1], "", id="all are finished"),
        pytest.param([a_run(0), a_run(1, OPEN)], "2026-03-31", [1], "", id="named by its id"),
    ],
)
def test_last_is_the_newest_run_with_final_scores_and_is_said_where_it_is_not_the_newest(
    runs: list[RunSummary], name: str, expected: list[int], note: str
) -> None:
    said: list[str] = []

    found = runs_named([name], runs, said.append)

    assert found == [runs[place] for place in expected]
    assert "".join(said).startswith(note)
    assert bool(said) == bool(note)


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        ([a_run(0, OPEN, False)], "run 2026-03-30T00Z is open and nothing of it is scored yet"),
        ([a_run(0, has_scores=False)], "run 2026-03-30T00Z ended without a score"),
        ([a_run(0, OPEN, False), a_run(1, OPEN, False)], "nothing is scored in these 2 runs yet"),
    ],
)
def test_runs_without_a_score_are_told_apart_in_a_sentence(runs: list[RunSummary], sentence: str) -> None:
    assert str(nothing_scored(runs)).startswith(sentence)
