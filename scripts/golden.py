#!/usr/bin/env python3
"""Records the traces of seeded local subnets, and compares new traces with them.

    python3 scripts/golden.py compare
    python3 scripts/golden.py record

Two subnets of 12 miners and 3 days, one per rule set, are played from schedule to weights. Each request to a miner,
freeze, score, reason and traced weight vector is compared with tests/golden, numbers to the last bit. Exit code 1:
something differs; 2: a subnet did not end. A wanted change of a trace is recorded, and CHANGELOG.md gives the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bootstrap

if TYPE_CHECKING:
    from golden_traces.playing import RuleSet
    from golden_traces.reading import Reading

KNOWN: tuple[RuleSet, ...] = ("gaia-2.9", "gaia-next")
FOLDER = bootstrap.ROOT / "tests" / "golden"
SECTIONS = ("questions", "forecasts", "components", "leads", "scores", "vectors")


def main(options: argparse.Namespace) -> int:
    """Play the subnets, compare or record their traces, and print the result; return the exit code."""
    from gaia.validator.utils.errors import GaiaError

    started = time.monotonic()
    rule_sets: Sequence[RuleSet] = options.rule_set or KNOWN
    state = options.keep or Path(tempfile.mkdtemp(prefix="golden-"))
    with ExitStack() as stack:
        if not options.keep:
            stack.callback(shutil.rmtree, state, ignore_errors=True)
        try:
            readings = asyncio.run(_play(rule_sets, state, in_turn=options.in_turn))
        except (GaiaError, OSError) as error:
            stack.pop_all()
            print(f"A subnet did not come to its end: {error}\nWhat it wrote is in {state}.", file=sys.stderr)
            return 2
    judged = judge(readings, options.folder)
    judged["figures"]["seconds"] = round(time.monotonic() - started, 1)
    if options.action == "record":
        judged["changes"] = judged["violations"]
        judged["violations"] = [
            f"{rule_set}: {problem}" for rule_set, reading in readings.items() for problem in reading.problems
        ]
        if not judged["violations"]:
            _save(readings, options.folder)
    print(json.dumps(judged, sort_keys=True) if options.json else "\n".join(_lines(judged)))
    return 1 if judged["violations"] else 0


async def _play(rule_sets: Sequence[RuleSet], folder: Path, *, in_turn: bool) -> dict[RuleSet, Reading]:
    from golden_traces.playing import play

    if in_turn:
        return {rule_set: await play(rule_set, folder / rule_set) for rule_set in rule_sets}
    try:
        async with asyncio.TaskGroup() as group:
            games = {rule_set: group.create_task(play(rule_set, folder / rule_set)) for rule_set in rule_sets}
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return {rule_set: game.result() for rule_set, game in games.items()}


def judge(readings: Mapping[RuleSet, Reading], folder: Path) -> dict[str, Any]:
    """Return {figures, ratios, violations}: a line for each difference from the traces in `folder`, or fault."""
    from golden_traces.comparing import differences, leaves, lines_of
    from golden_traces.files import TraceUnreadable, load, path_of

    figures: dict[str, Any] = {}
    violations: list[str] = []
    values = equal = 0
    for rule_set, reading in readings.items():
        size = leaves(reading.trace)
        values += size
        figures[rule_set] = {name: leaves(reading.trace[name]) for name in SECTIONS}
        figures[rule_set]["vectors_replayed"] = reading.vectors
        violations += [f"{rule_set}: {problem}" for problem in reading.problems]
        try:
            found = list(differences(load(path_of(rule_set, folder)), reading.trace))
        except TraceUnreadable as error:
            violations.append(str(error))
            continue
        equal += max(0, size - len(found))
        violations += [f"{rule_set}: {line}" for line in lines_of(found)]
    figures |= {"values": values, "values_equal": equal}
    return {"figures": figures, "ratios": {"equal": equal / values}, "violations": violations}


def _save(readings: Mapping[RuleSet, Reading], folder: Path) -> None:
    from golden_traces.files import path_of, save

    folder.mkdir(parents=True, exist_ok=True)
    for rule_set, reading in readings.items():
        save(reading.trace, path_of(rule_set, folder))


def _lines(judged: Mapping[str, Any]) -> list[str]:
    figures = judged["figures"]
    lines = [f"{figures['values_equal']} of {figures['values']} values equal; {figures['seconds']} s"]
    changes = judged.get("changes", [])
    lines += ["Recorded what differs; say why in CHANGELOG.md:", *changes] if changes else []
    return [*lines, *judged["violations"]]


def parser() -> argparse.ArgumentParser:
    """Return the parser, defined here so that --help needs no environment."""
    options = argparse.ArgumentParser(
        prog="scripts/golden.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = options.add_argument
    add("action", choices=("record", "compare"))
    add("--rule-set", action="append", choices=KNOWN, help="only this one; may be given twice (both)")
    add(
        "--in-turn",
        action="store_true",
        help="one subnet after the other; slower, for a machine with one core",
    )
    add("--keep", type=Path, metavar="DIR", help="a folder for what the subnets write; it stays")
    add("--folder", type=Path, default=FOLDER, metavar="DIR", help="where the traces are (tests/golden)")
    add("--json", action="store_true", help="print one object: figures, ratios, violations")
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    python = bootstrap.ensure_environment()
    if Path(sys.prefix).resolve() != python.parents[1].resolve():
        os.execv(python, [str(python), *sys.argv])
    sys.path.insert(0, str(bootstrap.ROOT))
    sys.exit(main(chosen))
