"""Restores real backups of random moments of a validator's life, and compares that life bit for bit with an undisturbed one.

`gaia backup create` runs beside the live validator. Minutes to days of the calendar later the validator is
stopped or killed, and the backup is verified and restored. The chain never goes back. The calendar stands still while the
validator is away. In half of the lives it then goes back to the moment of the backup: each run can be
completed, so every row and the last weights must be equal. In the others it goes on, as in reality. Then a run that the
backup did not know, and whose opening is longer ago than GAIA_RUN_LOOK_BACK_HOURS, is lost, and a miner whose manifest was not frozen
may be excused once its window is past. All other rows must be equal.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from campaigns.chain_faults.frame import add_frame
from campaigns.moment_restores.life import BookedSubnet, Life
from campaigns.moment_restores.plans import Way
from campaigns.operator_faults.tools import ToolFailed, inherit_scripts
from campaigns.state_faults.playing import Form, Played, Stuck, play
from campaigns.state_faults.reading import Reading, judge
from gaia.localnet.children import ChildFailed

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from campaigns.moment_restores.life import Forecast

LONG: Final = Form(days=4, miners=4, kills=0, free_kills=0, signer_stopped_s=0, locked_s=0, patience_s=600.0)
SHORT: Final = replace(LONG, days=2, miners=2, patience_s=240.0)
_SHORT_TRIALS, _LONG_TRIALS = 2, 20
_OF_A_LIFE: Final = 10
"""Largest number of restores of one life."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--trials", type=int, help=f"restores; default: {_LONG_TRIALS}, with --short {_SHORT_TRIALS}")
    add("--short", action="store_true", help=f"{SHORT.days} days and {SHORT.miners} miners")
    add("--seed", type=int, default=1, help="decides moments, and what becomes of each backup (1)")
    add("--way", action="append", choices=tuple(Way), help="only this way of the calendar")
    add_frame(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play all lives; return {figures, ratios, violations}."""
    inherit_scripts()
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_campaign(arguments, arguments.keep))
    with tempfile.TemporaryDirectory(prefix="moments-") as folder:
        return asyncio.run(_campaign(arguments, Path(folder)))


def lives_of(trials: int, ways: list[Way]) -> Iterator[tuple[Way, int]]:
    """Yield the way and the number of restores of each life.

    >>> [(str(way), number) for way, number in lives_of(23, [Way.BACK, Way.ON])]
    [('back', 10), ('on', 10), ('back', 2), ('on', 1)]
    """
    of_way = [trials // len(ways) + (place < trials % len(ways)) for place in range(len(ways))]
    while any(of_way):
        for place, way in enumerate(ways):
            number = min(of_way[place], _OF_A_LIFE)
            of_way[place] -= number
            if number:
                yield way, number


async def _campaign(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    form = SHORT if arguments.short else LONG
    trials = arguments.trials or (_SHORT_TRIALS if arguments.short else _LONG_TRIALS)
    calm = await play(folder / "undisturbed", form, {}, arguments.seed, arguments.patience)
    violations = [f"undisturbed: {line}" for line in (*calm.reading.doubts, *calm.reading.losses())]
    lives: dict[str, dict[str, Any]] = {}
    ways = [Way(way) for way in arguments.way or Way]
    for number, (way, restores) in enumerate(lives_of(trials, ways)):
        name = f"{number + 1} {way}"
        found, wrong = await _one_life(
            calm,
            folder / name.replace(" ", "-"),
            form,
            Life(way, restores),
            arguments.seed + number,
            arguments.patience,
        )
        lives[name] = found
        violations += [f"life {name}: {line}" for line in wrong]
    restored = sum(found.get("backups", 0) for found in lives.values() if "rows" in found)
    rows = sum(found.get("rows", 0) for found in lives.values())
    differing = sum(found.get("differing", 0) for found in lives.values())
    return {
        "figures": {
            "seed": arguments.seed,
            "undisturbed_s": round(calm.seconds, 1),
            "restores": restored,
            "lives": lives,
        },
        "ratios": {
            "ended": restored / trials,
            "equal": 1.0 - differing / rows if rows else 0.0,
            "compared": rows / (calm.reading.rows * len(lives)),
            "three_by_restores": round(3 / max(1, restored), 3),
        },
        "violations": violations,
    }


async def _one_life(
    calm: Played, folder: Path, form: Form, life: Life, seed: int, patience: float
) -> tuple[dict[str, Any], list[str]]:
    """Play one life with restores; return figures and violations."""
    faults = {"moments": life.play, "signatures": life.judge_signatures}
    try:
        played = await play(folder, form, faults, seed, patience, BookedSubnet)
    except (Stuck, ChildFailed, ToolFailed, OSError, asyncpg.PostgresError) as error:
        words = f"did not come to its end: {type(error).__name__}: {error}"
        return dict(life.figures), [*life.violations, words]
    past = life.missed | {
        (run_id, hotkey) for run_id, hotkey in calm.reading.tables["forecasts"] if run_id in life.lost_runs
    }
    ours, theirs = _without(calm.reading, past), _without(played.reading, past)
    if past:
        # Weights of other runs are other weights.
        ours = replace(ours, vector=theirs.vector)
    found, wrong = judge(ours, theirs, late=True)
    wrong += _blamed(played.reading, life.missed)
    signatures = {name: value for name, value in played.figures["signatures"].items() if name != "waits"}
    figures = {**life.figures, **found, **signatures, "longest_restore_s": round(life.longest_s, 1)}
    figures |= {
        "runs_past": len(life.lost_runs),
        "forecasts_past": len(life.missed),
        "seconds": round(played.seconds, 1),
    }
    return figures, [*life.violations, *wrong]


def _blamed(reading: Reading, missed: AbstractSet[Forecast]) -> list[str]:
    """Return a line for each miner that was rejected although we were the ones who were away."""
    rows = reading.tables["forecasts"]
    return [
        f"rejected for our absence: {' '.join(key)}"
        for key in sorted(missed)
        if key in rows and rows[key]["state"] == "rejected"
    ]


def _without(reading: Reading, past: AbstractSet[Forecast]) -> Reading:
    """Return a reading without the rows of forecasts whose time had passed."""
    tables: Mapping[str, Any] = {
        table: {key: row for key, row in rows.items() if (key[0], key[1]) not in past}
        for table, rows in reading.tables.items()
    }
    return replace(reading, tables=tables)
