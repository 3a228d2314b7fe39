"""Injects faults into a local subnet, and checks that status, doctor and runbook name them."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from campaigns.operator_faults.judging import result_of
from campaigns.operator_faults.playing import Row, chosen, play
from campaigns.operator_faults.tools import inherit_scripts

_DISK_MIB = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--faults", type=int, metavar="N", help="play N faults that need no run in progress; default: all")
    add("--seed", type=int, default=1, help="decides which faults are played (1)")
    add("--only", action="append", metavar="NAME", help="play this fault alone; may be given again")
    add(
        "--patience",
        type=float,
        default=1.0,
        metavar="TIMES",
        help="all limits of time, where others keep the machine busy (1)",
    )
    add("--keep", type=Path, metavar="FILE", help="append each row to this file as soon as it is known")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play the faults; return {figures, ratios, violations}. It needs root, to mount a small disk."""
    inherit_scripts()
    faults = chosen(None if arguments.only else arguments.faults, arguments.seed)
    faults = [fault for fault in faults if not arguments.only or fault.name in arguments.only]
    began = time.monotonic()
    with _small_disk() as folder:
        rows, unplayed = asyncio.run(play(folder, faults, arguments.patience, _noted(arguments.keep)))
    return result_of(rows, unplayed, time.monotonic() - began)


def _noted(path: Path | None) -> Any:
    def note(row: Row) -> None:
        print(f"  {json.dumps(row)}", file=sys.stderr, flush=True)
        if path is not None:
            with path.open("a") as out:
                out.write(json.dumps(row) + "\n")

    return note


@contextmanager
def _small_disk() -> Iterator[Path]:
    """Yield a folder on a file system of its own, which a fault can fill."""
    with tempfile.TemporaryDirectory(prefix="operator-") as folder:
        size = f"size={_DISK_MIB}m,mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
