"""Injects failures of the validator's own parts into a local subnet, and checks that no miner loses."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import asyncpg

from campaigns.state_faults.faults import FAULTS, TOGETHER
from campaigns.state_faults.playing import LONG, SHORT, Fault, Form, Played, Stuck, play
from campaigns.state_faults.reading import judge
from gaia.localnet.children import ChildFailed

_DEFAULT_SEED = 5
_CALM = "undisturbed"
_LATE = "outage"
"""The fault after which manifests may be frozen later."""
_TOGETHER = "together"
_LOSSES = ("rejected", "forfeited", "excused")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--short", action="store_true", help="one day, shorter faults, all of them in one subnet"
    )
    parser.add_argument(
        "--seed", type=int, default=_DEFAULT_SEED, help="decides when faults come, and whom they meet (5)"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        metavar="TIMES",
        help="all limits of time, where others keep the machine busy (1)",
    )
    parser.add_argument(
        "--fault", action="append", choices=tuple(FAULTS), help="this one alone; may be given again"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="write the subnets below this folder, and leave them"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play the subnet with and without faults; return {figures, ratios, violations}."""
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_campaign(arguments, arguments.keep))
    with tempfile.TemporaryDirectory(prefix="state-chaos-") as folder:
        return asyncio.run(_campaign(arguments, Path(folder)))


async def _campaign(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    form = SHORT if arguments.short else LONG
    chosen = {name: FAULTS[name] for name in FAULTS if name in (arguments.fault or FAULTS)}
    plays: dict[str, Mapping[str, Fault]] = {name: {name: fault} for name, fault in chosen.items()}
    if arguments.short:
        plays = {_TOGETHER: {name: chosen[name] for name in TOGETHER if name in chosen}}
    calm = await play(folder / _CALM, form, {}, arguments.seed, arguments.patience)
    figures: dict[str, Any] = {"seed": arguments.seed, _CALM: {"seconds": round(calm.seconds, 1)}}
    # All miners are honest, so a loss without faults would make the comparison useless.
    violations = [f"{_CALM}: {line}" for line in (*calm.reading.doubts, *calm.reading.losses())]
    for name, faults in plays.items():
        print(f"{name} ...", file=sys.stderr)
        found, wrong = await _disturbed(calm, folder / name, form, faults, arguments)
        figures[name] = found
        violations += [f"{name}: {line}" for line in wrong]
    return {"figures": figures, "ratios": _ratios(figures, plays), "violations": violations}


async def _disturbed(
    calm: Played, folder: Path, form: Form, faults: Mapping[str, Fault], arguments: argparse.Namespace
) -> tuple[dict[str, Any], list[str]]:
    """Play with `faults`; return figures and violations."""
    try:
        played = await play(folder, form, faults, arguments.seed, arguments.patience)
    except (Stuck, ChildFailed, OSError, asyncpg.PostgresError) as error:
        return {}, [f"did not come to its end: {type(error).__name__}: {error}"]
    found, wrong = judge(calm.reading, played.reading, late=_LATE in faults)
    return {"seconds": round(played.seconds, 1), **played.figures, **found}, wrong


def _ratios(figures: dict[str, Any], names: Collection[str]) -> dict[str, float]:
    """Return the ratios over all completed subnets with faults."""
    ended = [figures[name] for name in names if figures[name]]
    rows = sum(found["rows"] for found in ended)
    return {
        "ended": len(ended) / len(names),
        "equal": 1.0 - sum(found["differing"] for found in ended) / rows if rows else 0.0,
        "lost": sum(found[loss] for found in ended for loss in _LOSSES) / rows if rows else 1.0,
    }
