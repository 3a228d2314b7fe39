"""The command replay: recomputes runs in several processes and prints the differences."""

from __future__ import annotations

import argparse
import math
import os
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from gaia.cli import tables
from gaia.cli.replay.runs import Difference, Verdict, replay
from gaia.cli.replay.units import compute_overlaps, pool
from gaia.cli.replay.weights import VectorVerdict, replay_vector
from gaia.cli.select import nothing_scored, runs_named
from gaia.tasks.defined_tasks.weather.units import FindOverlaps, Overlaps
from gaia.validator.core.weights.inputs import parts_named
from gaia.validator.db import gram_matrices, history

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.db.connection import Connection
    from gaia.validator.db.gram_matrices import GramMatrix
    from gaia.validator.db.history import StoredRun
    from gaia.validator.db.rows import VectorRow


def replay_runs(source: Source, arguments: argparse.Namespace) -> int:
    """Compute runs anew, and the weights made from them; exit code 1 if a bit differs or an input is gone."""
    chosen = runs_named(arguments.runs, source.read(history.run_summaries))
    if not any(run.has_scores for run in chosen):
        raise nothing_scored(chosen)
    run_ids = [run.run_id for run in chosen]
    still_open = {run.run_id for run in chosen if run.is_open}
    workers = arguments.workers or os.cpu_count() or 1
    started = time.monotonic()

    def done(verdict: Verdict) -> None:
        if not arguments.json:
            is_open = verdict.run_id in still_open
            tables.print_lines(*_lines(verdict, with_differences=arguments.diff, is_open=is_open))

    verdicts = replay(one_by_one(source, run_ids), source.data_dir, workers, done)
    vectors = replay_vectors(source, run_ids)
    is_same = all(run.is_same for run in verdicts) and all(vector.is_same for vector in vectors)
    seconds = time.monotonic() - started
    if arguments.json:
        tables.print_json(_report(verdicts, workers, seconds) | {"weights": vectors_report(vectors)})
    else:
        numbers, differing = _totals(verdicts)
        tables.print_lines(
            *vector_lines(vectors, with_differences=arguments.diff),
            f"{tables.counted(len(verdicts), 'run')}, {tables.counted(numbers, 'number')}, {differing} differ;"
            f" {tables.counted(workers, 'worker')}, {seconds:.1f} s",
        )
    return 0 if is_same else 1


def replay_vectors(source: Source, run_ids: Sequence[str]) -> list[VectorVerdict]:
    """Compute every journalled vector that these runs were part of anew, and compare it."""

    async def read(
        connection: Connection,
    ) -> tuple[list[VectorRow], dict[str, str], list[GramMatrix]]:
        rows = await history.vectors_of(connection, run_ids)
        known = [row for row in rows if row.inputs is not None]
        digests = sorted({digest for row in known for digest in parts_named(row.inputs or {})})
        meant = sorted({run_id for row in known for run_id in row.run_ids})
        return (
            rows,
            await history.weight_inputs(connection, digests),
            await gram_matrices.matrices_of(connection, meant),
        )

    rows, parts, kept = source.read(read)
    if not rows:
        return []
    with pool(1, source.data_dir) as executor:

        @cache
        def found(unit: bytes) -> Overlaps:
            return compute_overlaps(executor, msgspec.json.decode(unit, type=FindOverlaps))

        return [
            replay_vector(row, parts, kept, source.data_dir, lambda unit: found(msgspec.json.encode(unit)))
            for row in rows
        ]


def vector_lines(verdicts: Sequence[VectorVerdict], *, with_differences: bool) -> Iterator[str]:
    """Yield report lines: one summary of the vectors that match, details of each that differs."""
    known = [each for each in verdicts if each.is_known]
    differing = [each for each in verdicts if not each.is_same]
    if verdicts:
        numbers = sum(each.numbers for each in verdicts)
        yield (
            f"weights  {len(known)} of {tables.counted(len(verdicts), 'vector')} computed anew:"
            f" {tables.counted(numbers, 'number')},"
            f" {sum(len(each.differences) for each in verdicts)} differ"
        )
    for note, count in Counter(note for each in verdicts for note in each.notes).items():
        yield f"  - {tables.counted(count, 'vector')}: {note}"
    for each in differing:
        yield f"  epoch {each.epoch}  {'DIFFERS' if each.differences else 'INCOMPLETE'}"
        yield from (f"  ! {problem}" for problem in each.problems)
        if with_differences:
            yield from _difference_lines(each.differences)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSame:
    """A journalled vector whose recomputed values differ."""

    epoch: int
    differences: Sequence[Difference]
    problems: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorsReport:
    """Results of all journalled vectors, as `--json` prints them."""

    vectors: int
    computed: int
    numbers: int
    differing: int
    notes: Mapping[str, int]
    """Note -> number of vectors that it applies to."""
    not_same: Sequence[NotSame]


def vectors_report(verdicts: Sequence[VectorVerdict]) -> VectorsReport:
    """Return the counts over all vectors, and every vector that differs or is incomplete."""
    return VectorsReport(
        vectors=len(verdicts),
        computed=sum(each.is_known for each in verdicts),
        numbers=sum(each.numbers for each in verdicts),
        differing=sum(len(each.differences) for each in verdicts),
        notes=dict(Counter(note for each in verdicts for note in each.notes)),
        not_same=[
            NotSame(epoch=each.epoch, differences=each.differences, problems=each.problems)
            for each in verdicts
            if not each.is_same
        ],
    )


def one_by_one(source: Source, run_ids: Sequence[str]) -> Iterator[StoredRun]:
    """Yield runs, each read when it is needed, so that memory does not grow with their number."""
    for run_id in run_ids:

        async def read(connection: Connection, wanted: str = run_id) -> list[StoredRun]:
            return await history.stored_runs(connection, [wanted], with_manifests=True)

        yield from source.read(read)


def _lines(verdict: Verdict, *, with_differences: bool, is_open: bool) -> Iterator[str]:
    if verdict.imported_from is not None:
        yield f"{verdict.run_id}  imported from {verdict.imported_from}; it cannot be computed anew"
        return
    word = "same" if verdict.is_same else "DIFFERS" if verdict.differences else "INCOMPLETE"
    so_far = "; the run is open, these are its numbers so far" if is_open else ""
    yield f"{verdict.run_id}  {word}: {tables.counted(verdict.numbers, 'number')}, {len(verdict.differences)} differ{so_far}"
    for problem in verdict.problems:
        yield f"  ! {problem}"
    if with_differences:
        yield from _difference_lines(verdict.differences)


def _difference_lines(differences: Sequence[Difference]) -> Iterator[str]:
    for difference in differences:
        yield f"  {difference.where}"
        yield f"    - {written(difference.stored)}"
        yield f"    + {written(difference.computed)}{_apart(difference)}"


def written(value: Any) -> str:
    """Return a value as text that shows every bit.

    >>> written(0.1)
    '0.1 (0x1.999999999999ap-4)'
    """
    return f"{value!r} ({value.hex()})" if isinstance(value, float) else repr(value)


def units_apart(one: float, other: float) -> int:
    """Return the distance between two numbers, counted in representable numbers.

    >>> units_apart(1.0, math.nextafter(1.0, 2.0))
    1
    """
    return abs(_place(one) - _place(other))


def _place(value: float) -> int:
    (bits,) = struct.unpack("<q", struct.pack("<d", value))
    return int(bits) if bits >= 0 else -(bits & (2**63 - 1))


def _apart(difference: Difference) -> str:
    one, other = difference.stored, difference.computed
    if not (isinstance(one, float) and isinstance(other, float)):
        return ""
    if not (math.isfinite(one) and math.isfinite(other)):
        return ""
    return f", {units_apart(one, other)} units in the last place apart"


def _totals(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    return sum(each.numbers for each in verdicts), sum(len(each.differences) for each in verdicts)


def _report(verdicts: Sequence[Verdict], workers: int, seconds: float) -> dict[str, object]:
    numbers, differing = _totals(verdicts)
    return {
        "numbers": numbers,
        "differing": differing,
        "workers": workers,
        "seconds": seconds,
        "runs": [
            {
                "run_id": each.run_id,
                "same": each.is_same,
                "imported_from": each.imported_from,
                "numbers": each.numbers,
                "differences": each.differences,
                "problems": each.problems,
            }
            for each in verdicts
        ],
    }
