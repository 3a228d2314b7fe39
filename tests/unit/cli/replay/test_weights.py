"""A journalled vector is computed again from what it was computed from, and every bit that differs is seen."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gaia.cli.replay.weights import BEFORE, replay_vector
from gaia.cli.replaying import vector_lines, vectors_report
from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.tasks.defined_tasks.weather.units import FindOverlaps, Overlaps
from gaia.validator.core.weights.inputs import VectorInputs, to_parts, vector_of
from gaia.validator.core.weights.rules import Entry
from gaia.validator.core.weights.rules.base import Standing
from gaia.validator.core.weights.vector import Registered, Terms
from gaia.validator.db.gram_matrices import GramMatrix
from gaia.validator.db.rows import VectorRow
from gaia.validator.utils.identities import RunId
from tests.support.stored_rows import a_vector_row

PAIRS = [("a", "b", 0.5)]
KEPT = [GramMatrix(run_id=RunId("r1"), lead_hours=24, sha256="ab", hotkeys=["a", "b"])]


def some_inputs(rule: str = "gaia-next") -> VectorInputs:
    entries = {
        hotkey: Entry(standing=Standing.DELIVERED, overall=score, leads={24: score, 48: score / 3})
        for hotkey, score in (("a", 0.5), ("b", 0.4), ("c", 0.1 + 0.2))
    }
    gone = Entry(standing=Standing.REJECTED, overall=-1.0, leads={})
    return VectorInputs(
        terms=Terms(rule=rule, burn_fraction=0.7, burn_enabled=True, burn_hotkey="", contrast_gamma=1.3),
        present=Registered(
            uids={"owner": 0, "a": 1, "b": 2, "c": 3}, eligible=frozenset("abc"), owner_hotkey="owner"
        ),
        runs={"r1": entries, "r2": {**entries, "c": gone}},
        found=FoundCopies(pairs=PAIRS, committed={"a": 0, "b": 2}, products=[("r1", 24, "ab")]),
    )


def journalled(inputs: VectorInputs) -> tuple[VectorRow, dict[str, str]]:
    names, parts = to_parts(inputs)
    weights = inputs.weights() or {}
    vector, digest = vector_of(weights)
    hotkeys = {uid: hotkey for hotkey, uid in inputs.present.uids.items()}
    row = a_vector_row(
        run_ids=list(inputs.runs),
        vector=vector,
        vector_sha256=digest,
        weights={hotkeys[uid]: weight for uid, weight in weights.items()},
        inputs=names,
    )
    return row, parts


def replayed(
    row: VectorRow,
    parts: dict[str, str],
    kept: list[GramMatrix] | None = None,
    pairs: list[tuple[str, str, float]] = PAIRS,
    missing: tuple[str, ...] = (),
) -> Any:
    def found(unit: FindOverlaps) -> Overlaps:
        assert unit.hotkeys == ["a", "b"]
        return Overlaps(pairs=pairs, missing=list(missing))

    return replay_vector(row, parts, KEPT if kept is None else kept, Path("data"), found)


@pytest.mark.parametrize("rule", ["gaia-next", "gaia-2.9"])
def test_a_vector_comes_out_the_same(rule: str) -> None:
    inputs = replace(some_inputs(rule), found=replace(some_inputs().found, products=()))

    verdict = replayed(*journalled(inputs))

    assert verdict.is_same
    assert verdict.is_known
    assert verdict.notes == []


def test_overlaps_are_found_again_from_kept_products() -> None:
    verdict = replayed(*journalled(some_inputs()))

    assert verdict.is_same
    assert verdict.numbers == 2 + 3 + 2


@pytest.mark.parametrize("name", ["vector", "vector_sha256", "weights"])
def test_last_bit_of_anything_stored_is_noticed(name: str) -> None:
    row, parts = journalled(some_inputs())
    match name:
        case "vector":
            row = replace(
                row, vector=[[uid, value - (place == 0)] for place, (uid, value) in enumerate(row.vector)]
            )
        case "vector_sha256":
            row = replace(row, vector_sha256="0" * 64)
        case "weights":
            row = replace(row, weights={**row.weights, "a": math.nextafter(row.weights["a"], 1.0)})

    (difference,) = replayed(row, parts).differences

    assert difference.where in {"vector", "vector_sha256", "weight of a"}


def test_an_overlap_that_comes_out_otherwise_is_noticed() -> None:
    verdict = replayed(*journalled(some_inputs()), pairs=[("a", "b", 0.500001)])

    assert [difference.where for difference in verdict.differences] == ["overlap of a and b"]


def test_what_was_tampered_with_or_is_gone_is_a_problem() -> None:
    row, parts = journalled(some_inputs())
    digest = (row.inputs or {})["terms"]
    changed = parts | {digest: parts[digest].replace("0.7", "0.6")}
    gone = {key: value for key, value in parts.items() if key != digest}

    assert "was changed" in replayed(row, changed).problems[0]
    assert "is missing" in replayed(row, gone).problems[0]
    assert "ab" in replayed(row, parts, missing=("ab",)).problems[0]


def test_of_runs_that_left_the_window_overlaps_are_taken_as_they_were_and_that_is_said() -> None:
    verdict = replayed(*journalled(some_inputs()), kept=[])

    assert verdict.is_same
    assert "left the window" in verdict.notes[0]


def test_a_vector_from_before_inputs_were_kept_is_said_to_be_one() -> None:
    row, parts = journalled(some_inputs())

    verdict = replayed(replace(row, inputs=None), parts)

    assert (verdict.is_same, verdict.is_known, verdict.notes) == (True, False, [BEFORE])


def test_what_is_said_names_those_that_differ_and_counts_the_rest() -> None:
    row, parts = journalled(some_inputs())
    same, differs = replayed(row, parts), replayed(replace(row, epoch=8, vector_sha256="0"), parts)
    before = replayed(replace(row, inputs=None), parts)

    said = list(vector_lines([same, differs, before], with_differences=True))
    report = vectors_report([same, differs, before])

    assert said[0] == "weights  2 of 3 vectors computed anew: 14 numbers, 1 differ"
    assert said[1] == f"  - 1 vector: {BEFORE}"
    assert said[2:4] == ["  epoch 8  DIFFERS", "  vector_sha256"]
    assert (report.vectors, report.computed, report.differing) == (3, 2, 1)
    assert [each.epoch for each in report.not_same] == [8]
    assert list(vector_lines([], with_differences=True)) == []
