"""Measures the CPU time of each command's --help, relative to a bare interpreter."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BARE = "bare interpreter"
COMMANDS = {
    "gaia": "gaia.cli.__main__",
    "gaia-validator": "gaia.validator.validator",
    "gaia-miner": "gaia.miner.miner",
}
"""Command -> module whose `main` it calls, as in [project.scripts]."""
FULL, QUICK = 20, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, help=f"starts of each command ({FULL}; {QUICK} with --quick)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; return {"ratios", "figures"}: lowest CPU times relative to the bare interpreter.

    The commands take turns. The lowest time counts, because other work on the machine only adds to it.
    """
    rounds = arguments.rounds or (QUICK if arguments.quick else FULL)
    programs = {BARE: ["-c", "pass"]} | {name: _help_of(module) for name, module in COMMANDS.items()}
    costs: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, words in programs.items():
            costs[name].append(_cpu_ms(words))
    lowest = {name: min(spent) for name, spent in costs.items()}
    return {
        "ratios": {name: round(lowest[name] / lowest[BARE], 2) for name in COMMANDS},
        "figures": {f"{name} ms": round(spent, 1) for name, spent in lowest.items()} | {"rounds": rounds},
    }


def _help_of(module: str) -> list[str]:
    """Return the program of the command; an installed command may run another folder's code."""
    return ["-c", f"import sys; from {module} import main; sys.exit(main())", "--help"]


def _cpu_ms(words: Sequence[str]) -> float:
    # If coverage measures the tests, it would start in these programs too.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
