"""Golden traces: whatever differs is named in one line."""

from __future__ import annotations

import copy
import json
import math
import random
import struct
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import golden
import pytest
from golden_traces.comparing import ABSENT, SHOWN, differences, leaves, lines_of, numbers_between
from golden_traces.files import TraceUnreadable, load, path_of, save
from golden_traces.playing import DAYS, MOMENTS, Stuck
from golden_traces.reading import Reading, vectors_at

from gaia.localnet.options import Options

RUN_ID = "2026-03-25T00Z"
INIT_TIME = datetime(2026, 3, 25, tzinfo=UTC)
ASKED_AT = "2026-03-25T18:00:00+00:00"
HOTKEY = "5" + "Miner" * 9

Command = Callable[..., tuple[int, dict[str, Any]]]


def a_trace() -> dict[str, Any]:
    """A small trace with something of every section."""
    return {
        "about": {"rule_set": "gaia-2.9", "miners": 1},
        "questions": {
            RUN_ID: {"honest-0": {ASKED_AT: {"asked": "initiate, poll", "fetched": {"2t/0.0.0": "200"}}}}
        },
        "forecasts": {RUN_ID: {"honest-0": {"uid": 1, "state": "scored", "frozen_round": ASKED_AT}}},
        "components": {RUN_ID: {"honest-0": {"gaia-2.9": {"final": {"24": {"2t": {"rmse": 1.25}}}}}}},
        "leads": {RUN_ID: {"honest-0": {"gaia-2.9": {"final": {"24": {"score": 0.75}}}}}},
        "scores": {RUN_ID: {"honest-0": {"gaia-2.9": {"overall": 0.5, "counted": True}}}},
        "vectors": {"end": {"vector": {"uid 1": 65535}, "weights": {"honest-0": 1.0}}},
    }


def lines_after(change: Callable[[dict[str, Any]], None]) -> list[str]:
    """Return what is said of a trace to which `change` was done."""
    after = copy.deepcopy(a_trace())
    change(after)
    return [difference.line() for difference in differences(a_trace(), after)]


def with_bit_flipped(number: float, bit: int) -> float:
    (bits,) = struct.unpack("<Q", struct.pack("<d", number))
    (flipped,) = struct.unpack("<d", struct.pack("<Q", bits ^ (1 << bit)))
    return float(flipped)


def test_the_same_trace_has_no_difference() -> None:
    assert list(differences(a_trace(), json.loads(json.dumps(a_trace())))) == []


@pytest.mark.parametrize("bit", range(64))
def test_each_flipped_bit_of_a_score_is_named_with_its_place_and_both_values(bit: int) -> None:
    flipped = with_bit_flipped(0.5, bit)

    def change(trace: dict[str, Any]) -> None:
        trace["scores"][RUN_ID]["honest-0"]["gaia-2.9"]["overall"] = flipped

    (line,) = lines_after(change)

    assert line.startswith(f"scores / {RUN_ID} / honest-0 / gaia-2.9 / overall: 0.5 -> {flipped!r}")


def test_the_last_bit_is_told_as_one_representable_number() -> None:
    def change(trace: dict[str, Any]) -> None:
        trace["components"][RUN_ID]["honest-0"]["gaia-2.9"]["final"]["24"]["2t"]["rmse"] = math.nextafter(
            1.25, 2
        )

    (line,) = lines_after(change)

    assert line.endswith("2t / rmse: 1.25 -> 1.2500000000000002 (1 representable numbers apart)")


def test_one_question_more_is_one_line() -> None:
    def change(trace: dict[str, Any]) -> None:
        trace["questions"][RUN_ID]["honest-0"][ASKED_AT]["asked"] = "initiate, poll, poll"

    assert lines_after(change) == [
        f'questions / {RUN_ID} / honest-0 / {ASKED_AT} / asked: "initiate, poll" -> "initiate, poll, poll"'
    ]


def test_a_question_at_another_time_is_one_line() -> None:
    later = "2026-03-25T18:05:00+00:00"

    def change(trace: dict[str, Any]) -> None:
        trace["questions"][RUN_ID]["honest-0"][later] = {"asked": "poll"}

    assert lines_after(change) == [
        f'questions / {RUN_ID} / honest-0 / {later}: absent -> {{"asked": "poll"}}'
    ]


def test_a_file_fetched_twice_is_one_line() -> None:
    def change(trace: dict[str, Any]) -> None:
        trace["questions"][RUN_ID]["honest-0"][ASKED_AT]["fetched"]["2t/0.0.0"] = "200 200"

    (line,) = lines_after(change)

    assert line.endswith('fetched / 2t/0.0.0: "200" -> "200 200"')


def test_another_reason_another_round_and_another_weight_are_one_line_each() -> None:
    def change(trace: dict[str, Any]) -> None:
        trace["forecasts"][RUN_ID]["honest-0"] |= {"reason": "refused", "frozen_round": "later"}
        trace["vectors"]["end"]["vector"]["uid 1"] = 65534

    assert lines_after(change) == [
        f'forecasts / {RUN_ID} / honest-0 / frozen_round: "{ASKED_AT}" -> "later"',
        f'forecasts / {RUN_ID} / honest-0 / reason: absent -> "refused"',
        "vectors / end / vector / uid 1: 65535 -> 65534",
    ]


def test_a_miner_that_is_gone_is_one_line_that_is_not_too_long_to_read() -> None:
    def change(trace: dict[str, Any]) -> None:
        del trace["questions"][RUN_ID]["honest-0"]

    (line,) = lines_after(change)

    assert line.startswith(f"questions / {RUN_ID} / honest-0: {{")
    assert line.endswith("-> absent")
    assert len(line) < 250


@pytest.mark.parametrize(
    ("before", "after"), [(0, 0.0), (1, True), (0.0, -0.0), (None, 0), ("1", 1), ([1], [1.0])]
)
def test_values_that_python_calls_equal_or_empty_are_told_apart(before: object, after: object) -> None:
    assert len(list(differences({"value": before}, {"value": after}))) == 1


def test_a_score_that_is_not_a_number_equals_itself() -> None:
    assert list(differences({"score": math.nan}, {"score": math.nan})) == []


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(1.0, math.nextafter(1.0, 2), 1), (0.0, -0.0, 1), (5e-324, 0.0, 1), (1.0, math.inf, None), (1, 2, None)],
)
def test_numbers_between_counts_representable_steps(one: float, other: float, expected: int | None) -> None:
    assert numbers_between(one, other) == expected


def test_many_differences_are_counted_by_section_after_the_first() -> None:
    before = {"components": dict.fromkeys(map(str, range(SHOWN)), 0), "scores": {"a": 0, "b": 0}}
    after = {"components": dict.fromkeys(map(str, range(SHOWN)), 1), "scores": {"a": 1, "b": 1}}

    lines = lines_of(list(differences(before, after)))

    assert len(lines) == SHOWN + 1
    assert lines[-1] == "and 2 more: 2 in scores"


# Files


def test_a_kept_trace_is_the_same_to_the_last_bit_and_always_the_same_bytes(tmp_path: Path) -> None:
    chance = random.Random(5)
    numbers = [with_bit_flipped(chance.uniform(-1, 1), chance.randrange(52)) for _ in range(500)]
    trace = {"scores": {str(place): number for place, number in enumerate(numbers)}, "vectors": {}}

    save(trace, tmp_path / "one")
    save(dict(reversed(trace.items())), tmp_path / "other")

    assert list(differences(trace, load(tmp_path / "one"))) == []
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_missing_and_a_damaged_trace_say_what_to_do(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    save(a_trace(), damaged)
    damaged.write_bytes(damaged.read_bytes()[:-40])

    with pytest.raises(TraceUnreadable, match=r"golden\.py record"):
        load(tmp_path / "missing")
    with pytest.raises(TraceUnreadable, match="version control"):
        load(damaged)


# Questions


# Vectors


def a_row(weight: int, at: datetime = INIT_TIME, completed_ids: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "epoch": 1,
        "intended_at": at,
        "vector": [[1, weight]],
        "weights": {HOTKEY: weight / 65535},
        "run_ids": [RUN_ID],
        "completed_ids": list(completed_ids),
    }


LAST = a_row(65535, INIT_TIME + timedelta(days=16), (RUN_ID,))


def vectors_of(*rows: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    return vectors_at(rows, [RUN_ID], [INIT_TIME], {HOTKEY: "honest-0"})


def test_vectors_of_the_moments_and_of_the_end_are_traced_and_no_others() -> None:
    between = a_row(5, INIT_TIME + timedelta(hours=1))

    vectors, problems = vectors_of(a_row(7), between, a_row(7), LAST)

    assert problems == []
    assert {moment: vector["vector"] for moment, vector in vectors.items()} == {
        INIT_TIME.isoformat(): {"uid 1": 7},
        "end": {"uid 1": 65535},
    }
    assert vectors["end"]["weights"] == {"honest-0": 1.0}


def test_a_moment_without_a_vector_or_with_two_is_a_problem() -> None:
    _, missing = vectors_of(LAST)
    _, doubled = vectors_of(a_row(7), a_row(8), LAST)

    assert missing == [f"no weights were set at {INIT_TIME.isoformat()}"]
    assert doubled == [f"weights set at {INIT_TIME.isoformat()} from the same scores are not the same"]


def test_moments_are_such_at_which_no_step_of_a_run_can_be_due() -> None:
    end = Options(days=DAYS).clock_end

    assert list(MOMENTS) == sorted(set(MOMENTS))
    assert MOMENTS[-1] < end
    assert all(moment.minute % 5 and moment.second == 0 for moment in MOMENTS)


# The whole


def test_what_differs_from_the_kept_traces_is_a_violation_of_its_rule_set(tmp_path: Path) -> None:
    save(a_trace(), path_of("gaia-2.9", tmp_path))
    changed = a_trace()
    changed["scores"][RUN_ID]["honest-0"]["gaia-2.9"]["overall"] = math.nextafter(0.5, 1)

    same = golden.judge({"gaia-2.9": Reading(trace=a_trace(), problems=[], vectors=3)}, tmp_path)
    other = golden.judge({"gaia-2.9": Reading(trace=changed, problems=[], vectors=3)}, tmp_path)

    assert (same["violations"], same["ratios"]) == ([], {"equal": 1.0})
    assert len(other["violations"]) == 1
    assert other["violations"][0].startswith("gaia-2.9: scores / ")
    assert other["figures"]["values"] - other["figures"]["values_equal"] == 1


def test_what_is_wrong_in_itself_and_a_trace_that_is_missing_are_violations(tmp_path: Path) -> None:
    reading = Reading(trace=a_trace(), problems=["no weights were set at noon"], vectors=0)

    judged = golden.judge({"gaia-next": reading}, tmp_path)

    assert judged["violations"][0] == "gaia-next: no weights were set at noon"
    assert "is missing" in judged["violations"][1]
    assert judged["ratios"] == {"equal": 0.0}


@pytest.mark.parametrize("rule_set", golden.KNOWN)
def test_the_kept_traces_hold_something_of_every_section_and_of_every_behaviour(rule_set: str) -> None:
    trace = load(path_of(rule_set, golden.FOLDER))

    miners = {name.rsplit("-", 1)[0] for name in trace["forecasts"][RUN_ID]}
    states = {forecast["state"] for run in trace["forecasts"].values() for forecast in run.values()}
    assert miners == {
        "honest", "persistence", "gfs_clone", "copy", "slow", "dead", "swap", "nan", "refuse"
    }  # fmt: skip
    assert states == {"scored", "rejected"}
    assert len(trace["vectors"]) == len(MOMENTS) + 1
    assert all(leaves(trace[section]) for section in golden.SECTIONS)
    assert ABSENT not in trace.values()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line, in which subnets play what they are given; returns exit code and what was printed."""

    def run(*words: str, plays: Reading | Exception) -> tuple[int, dict[str, Any]]:
        async def play(rule_sets: Sequence[str], folder: Path, *, in_turn: bool) -> dict[str, Reading]:
            (folder / "log").write_text("what the subnet wrote")
            if isinstance(plays, Exception):
                raise plays
            return dict.fromkeys(rule_sets, plays)

        monkeypatch.setattr(golden, "_play", play)
        options = golden.parser().parse_args([*words, "--json", "--folder", str(tmp_path / "traces")])
        code = golden.main(options)
        printed = capsys.readouterr().out
        return code, json.loads(printed) if printed else {}

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return run


def test_what_was_recorded_is_found_equal_and_nothing_is_left_behind(
    command: Command, tmp_path: Path
) -> None:
    reading = Reading(trace=a_trace(), problems=[], vectors=1)

    recorded, said = command("record", plays=reading)
    compared, judged = command("compare", plays=reading)

    assert (recorded, compared) == (0, 0)
    assert len(said["changes"]) == len(golden.KNOWN)
    assert judged["ratios"] == {"equal": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["traces"]


def test_a_difference_ends_in_exit_code_1_until_it_is_recorded(command: Command) -> None:
    changed = a_trace()
    changed["forecasts"][RUN_ID]["honest-0"]["state"] = "rejected"
    command("record", plays=Reading(trace=a_trace(), problems=[], vectors=1))
    after = Reading(trace=changed, problems=[], vectors=1)

    codes = [command(action, plays=after)[0] for action in ("compare", "record", "compare")]

    assert codes == [1, 0, 0]


def test_a_subnet_with_a_problem_is_not_recorded(command: Command, tmp_path: Path) -> None:
    code, judged = command("record", plays=Reading(trace=a_trace(), problems=["no weights"], vectors=0))

    assert (code, judged["violations"]) == (1, [f"{name}: no weights" for name in golden.KNOWN])
    assert not (tmp_path / "traces").exists()


def test_a_subnet_that_does_not_end_leaves_its_logs(command: Command, tmp_path: Path) -> None:
    code, _ = command("compare", plays=Stuck("nothing moved"))

    assert code == 2
    assert len(list(tmp_path.glob("golden-*/log"))) == 1
