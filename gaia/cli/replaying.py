"""The command that replays: which runs, how many processes, what is printed."""

from __future__ import annotations

import argparse
import math
import os
import struct
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gaia.cli import tables
from gaia.cli.replay import Difference, Verdict, replay
from gaia.cli.select import runs_named
from gaia.cli.source import Source
from gaia.validator.db import history
from gaia.validator.db.history import StoredRun

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


def replay_runs(source: Source, arguments: argparse.Namespace) -> int:
    """Compute runs anew; exit code 1 if a bit differs or an input is gone."""
    chosen = runs_named(arguments.runs, source.read(history.run_summaries))
    workers = arguments.workers or os.cpu_count() or 1
    started = time.monotonic()

    def done(verdict: Verdict) -> None:
        if not arguments.json:
            tables.print_lines(*_lines(verdict, with_differences=arguments.diff))

    one_by_one = _one_by_one(source, [run.run_id for run in chosen])
    verdicts = replay(one_by_one, source.data_dir, workers, done)
    is_same = all(verdict.is_same for verdict in verdicts)
    seconds = time.monotonic() - started
    if arguments.json:
        tables.print_json(_report(verdicts, workers, seconds))
    else:
        numbers, differing = _totals(verdicts)
        tables.print_lines(
            f"{len(verdicts)} runs, {numbers} numbers, {differing} differ; {workers} workers, {seconds:.1f} s"
        )
    return 0 if is_same else 1


def _one_by_one(source: Source, run_ids: Sequence[str]) -> Iterator[StoredRun]:
    """Read a run when its turn comes, so that memory does not grow with their number."""
    for run_id in run_ids:

        async def read(connection: Connection, wanted: str = run_id) -> list[StoredRun]:
            return await history.stored_runs(connection, [wanted])

        yield from source.read(read)


def _lines(verdict: Verdict, *, with_differences: bool) -> Iterator[str]:
    word = "same" if verdict.is_same else "DIFFERS" if verdict.differences else "INCOMPLETE"
    yield f"{verdict.run_id}  {word}: {verdict.numbers} numbers, {len(verdict.differences)} differ"
    for problem in verdict.problems:
        yield f"  ! {problem}"
    if with_differences:
        for difference in verdict.differences:
            yield f"  {difference.where}"
            yield f"    - {written(difference.stored)}"
            yield f"    + {written(difference.computed)}{_apart(difference)}"


def written(value: Any) -> str:
    """Return a value so that every bit of it can be read.

    >>> written(0.1)
    '0.1 (0x1.999999999999ap-4)'
    """
    return f"{value!r} ({value.hex()})" if isinstance(value, float) else repr(value)


def units_apart(one: float, other: float) -> int:
    """Return how many representable numbers lie from one to the other.

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


def _report(verdicts: Sequence[Verdict], workers: int, seconds: float) -> dict[str, Any]:
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
                "numbers": each.numbers,
                "differences": each.differences,
                "problems": each.problems,
            }
            for each in verdicts
        ],
    }
