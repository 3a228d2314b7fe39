"""Provokes each refusal of weights that a chain or a node has, and counts signatures that a preflight could have spared."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from campaigns.chain_refusals.cases import BY_SHAPE, EXCLUDED, SAME_AS, trials
from campaigns.chain_refusals.playing import BLOCK_S, Row, a_stage
from gaia.validator.utils.chain.refusals import REFUSALS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--patience", type=float, default=1.0, help="blocks are so many times longer (1)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play all trials; return {figures, ratios, violations}."""
    began = time.monotonic()
    rows = asyncio.run(played(BLOCK_S * arguments.patience))
    foreseeable = [row for row in rows if row.when.is_foreseeable]
    return {
        "figures": {
            "trials": len(rows),
            "names": len({row.name for row in rows}),
            "foreseeable": len(foreseeable),
            "signatures_where_foreseeable": sum(row.signatures for row in foreseeable),
            "causes": dict(sorted(Counter(row.cause for row in rows).items())),
            "rows": [row.as_json() for row in rows],
            "seconds": round(time.monotonic() - began, 1),
        },
        "ratios": {},
        "violations": violations(rows),
    }


async def played(block_s: float = BLOCK_S) -> list[Row]:
    """Play all trials on one chain, with so many seconds between its blocks."""
    async with a_stage(block_s) as stage:
        return [await stage.play(trial) for trial in trials()]


def violations(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each row that is not as promised, and each name without a row."""
    found = []
    for row in rows:
        where = f"{row.name}, {row.form}, {row.when}"
        if row.told != row.name:
            found.append(f"{where}: told as {row.told or row.error or 'a success'}")
        if row.when.is_foreseeable and row.signatures:
            found.append(f"{where}: {row.signatures} signatures")
        if not row.when.is_foreseeable and row.signatures != 1:
            found.append(f"{where}: {row.signatures} signatures instead of one")
    foreseen = {row.name for row in rows if row.when.is_foreseeable}
    for name, refusal in REFUSALS.items():
        is_tried = SAME_AS.get(name, name) in foreseen or name in BY_SHAPE | EXCLUDED
        if refusal.is_foreseen != is_tried:
            found.append(
                f"{name}: called {'fore' if refusal.is_foreseen else 'un'}seen, and the trials differ"
            )
    played = {row.name for row in rows}
    found += [f"{name}: no trial" for name in REFUSALS if name not in played | EXCLUDED.keys()]
    return found
