"""Kills and stops workers, fork server, IO-Engine and Supervisor while units run in the pool."""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1]
_FEWEST_KILLS_OF_A_LANE = 30
_SUMS = (
    "kills",
    "pauses",
    "stumbles",
    "compared",
    "lives",
    "units",
    "lost",
    "doubled",
    "wrong",
    "rerun",
    "refused",
)
_LISTS = ("left_behind", "stuck", "leaks", "deadlocks", "wrong_examples")
_COUNTERS = ("by_kind", "stops", "strikes", "failures")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kills", type=int, default=150, help="how many kill -9, over all lanes (3000: long form)"
    )
    parser.add_argument("--seed", type=int, help="decides who is killed, and when; default: a new one")
    parser.add_argument("--lanes", type=int, help="Supervisors at once; default: one per processor")
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        metavar="TIMES",
        help="all limits of time, where others keep the machine busy (1)",
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the campaign in parallel lanes; "passed" is false if anything was found."""
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    most = max(1, arguments.kills // _FEWEST_KILLS_OF_A_LANE)
    lanes = min(arguments.lanes or len(os.sched_getaffinity(0)), most)
    shares = [arguments.kills // lanes + (lane < arguments.kills % lanes) for lane in range(lanes)]
    processes = [_start(share, seed * 1000 + lane, arguments.patience) for lane, share in enumerate(shares)]
    try:
        outputs = [process.communicate()[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    found = [json.loads(output.splitlines()[-1]) if output.strip() else {} for output in outputs]
    return {**merge([lane for lane in found if lane]), "seed": seed, "lanes": lanes} | (
        {} if all(found) else {"passed": False, "lanes_that_ended": found.count({})}
    )


def merge(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum the results of the lanes, and judge them."""
    result: dict[str, Any] = {name: sum(lane[name] for lane in found) for name in _SUMS}
    for name in _LISTS:
        result[name] = [line for lane in found for line in lane[name]]
    for name in _COUNTERS:
        result[name] = dict(sum((Counter(lane[name]) for lane in found), Counter()))
    result["seconds"] = max((lane["seconds"] for lane in found), default=0.0)
    result["kept"] = [lane["kept"] for lane in found if "kept" in lane]
    result["left_behind_list"] = result["left_behind"]
    result["left_behind"] = len(result["left_behind"])
    result["bound"] = 3 / result["kills"] if result["kills"] else 1.0
    faults = ("lost", "doubled", "wrong", "left_behind", "stuck", "leaks", "deadlocks")
    result["passed"] = result["compared"] > 0 and not any(result[name] for name in faults)
    return result


def _start(kills: int, seed: int, patience: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "campaigns.pool_faults.campaign", str(kills), str(seed)],
        cwd=SCRIPTS,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(SCRIPTS), str(SCRIPTS.parent)]),
            "POOL_CHAOS_PATIENCE": str(patience),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
