"""Measures how soon a validator is ready again after kill -9, beside an undisturbed start."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
UNDISTURBED: Final = "undisturbed"
BARS: Final[Mapping[str, float]] = {"engine": 1.0, "postgres": 1.5, "everything": 1.2}
"""What is killed -> largest ratio of its median to that of an undisturbed start."""


class Plan(NamedTuple):
    """Size of the measurement."""

    rounds: int
    rest_s: float
    """Least seconds between ready and the next kill or stop."""
    spread_s: float
    """Seconds within which chance decides its moment; the short periods of a validator fit in."""


FULL = Plan(rounds=20, rest_s=6.0, spread_s=5.0)
QUICK = Plan(rounds=1, rest_s=0.5, spread_s=0.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--rounds",
        type=int,
        help=f"starts and kills of each kind; {FULL.rounds}, with --quick {QUICK.rounds}",
    )
    add("--seed", type=int, default=1, help="decides the moment of each kill (1)")
    add("--patience", type=float, default=1.0, metavar="TIMES", help="all limits of time are longer (1)")
    add("--keep", type=Path, metavar="DIR", help="write the subnet, with its logs, there, and leave it")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; return {"ratios", "figures", "violations"}; a ratio above its bar is a violation, unless --quick.

    A real validator runs with its embedded server on a local subnet whose calendar stands still. Each round has
    one of each, in this order:

    - undisturbed: after a clean stop, from the start of the process;
    - engine: from kill -9 of the IO-Engine, which the Supervisor replaces;
    - postgres: from kill -9 of the postmaster, which the Supervisor replaces;
    - everything: from kill -9 of all processes, after which the validator is started at once.

    Each lasts until the validator is ready, which means the same everywhere. ``/readyz`` answers 200, and the
    IO-Engine has a session at the server that runs now. Both are asked each 10 ms. Each ratio is a median divided by
    that of the whole undisturbed start, also for the engine alone.
    """
    sys.path.insert(0, str(ROOT))
    from benchmarks.resume_parts.rounds import measure

    plan = QUICK if arguments.quick else FULL
    plan = plan._replace(rounds=arguments.rounds or plan.rounds)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gaia-resume-") as folder:
        samples = asyncio.run(
            measure(arguments.keep or Path(folder), plan, arguments.seed, arguments.patience)
        )
    ratios = ratios_of(samples)
    return {
        "ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "figures": {
            **{f"{name}_s": spread(found) for name, found in samples.items()},
            "rounds": plan.rounds,
            "seed": arguments.seed,
            "seconds": round(time.monotonic() - begun, 1),
        },
        "violations": [] if arguments.quick else violations_of(ratios),
    }


def ratios_of(samples: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return kill -> its median by that of the undisturbed starts.

    >>> ratios_of({"undisturbed": [4.0, 2.0, 9.0], "engine": [1.0], "postgres": [5.0], "everything": [4.0]})
    {'engine': 0.25, 'postgres': 1.25, 'everything': 1.0}
    """
    whole = statistics.median(samples[UNDISTURBED])
    return {name: statistics.median(samples[name]) / whole for name in BARS}


def violations_of(ratios: Mapping[str, float]) -> list[str]:
    """Return a sentence for each ratio above its bar.

    >>> violations_of({"engine": 1.0, "postgres": 1.61, "everything": 1.1})
    ['postgres: ready again after 1.61 undisturbed starts, at most 1.5']
    """
    return [
        f"{name}: ready again after {ratio:.2f} undisturbed starts, at most {BARS[name]:g}"
        for name, ratio in ratios.items()
        if ratio > BARS[name]
    ]


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return median, minimum and maximum.

    >>> spread([1.0, 4.0, 2.0])
    {'median': 2.0, 'min': 1.0, 'max': 4.0}
    """
    found = {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
    return {name: round(value, 3) for name, value in found.items()}
