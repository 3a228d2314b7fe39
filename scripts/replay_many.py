#!/usr/bin/env python3
"""Makes stored runs from real weather, then replays them with several numbers of workers and a plain CPU.

    python3 scripts/replay_many.py --runs 100 --workers 1,2,8 --json

It exits 1 if any bit differs. The last replay compiles for a CPU without vector extensions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bootstrap

ROOT = Path(__file__).resolve().parents[1]
FIRST_INIT_TIME = datetime(2026, 3, 25, tzinfo=UTC)
PLAIN_CPU = "generic"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the runs, replay them, and print the result."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        state = options.state or Path(scratch) / "state"
        if not (state / "postgres").exists():
            make(state, Path(scratch) / "miners", options.runs, options.miners, quiet=options.json)
        replays = [replay(state, workers) for workers in options.workers]
        replays.append(replay(state, max(options.workers), PLAIN_CPU))
    report = {
        "runs": replays[0]["runs"],
        "numbers": replays[0]["numbers"],
        "differing": sum(each["differing"] + each["problems"] for each in replays),
        "replays": replays,
    }
    if options.json:
        print(json.dumps(report))
    else:
        print(f"{report['runs']} runs, {report['numbers']} stored numbers")
        for each in replays:
            print(
                f"  {each['workers']} workers, {each['cpu']:7} CPU: {each['differing']} differing,"
                f" {each['problems']} problems, {each['seconds']:.1f} s"
            )
    return 1 if report["differing"] else 0


def make(state: Path, scratch: Path, runs: int, miners: int, *, quiet: bool) -> None:
    """Store `runs` small runs with their inputs below `state`."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    started = time.monotonic()
    asyncio.run(_make(state, scratch, runs, miners))
    if not quiet:
        print(f"made {runs} runs in {time.monotonic() - started:.1f} s")


def replay(state: Path, workers: int, cpu: str = "") -> dict[str, Any]:
    """Replay every run in a separate process; return a summary."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CPU_NAME"}
    environment["PYTHONPATH"] = str(ROOT)
    if cpu:
        environment |= {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-m", "gaia.cli", "replay", "all", "--json"]
    done = subprocess.run(
        [*command, "--state", str(state), "--workers", str(workers)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout)
    return {
        "workers": workers,
        "cpu": cpu or "native",
        "runs": len(found["runs"]),
        "numbers": found["numbers"],
        "differing": found["differing"],
        "problems": sum(len(run["problems"]) for run in found["runs"]),
        "seconds": round(found["seconds"], 3),
    }


async def _make(state: Path, scratch: Path, runs: int, miners: int) -> None:
    from gaia.localnet.population import Behaviour, population
    from gaia.localnet.stored_runs import make_runs, small_settings
    from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres, embedded_dsn
    from gaia.validator.core.database_setup import run_comprehensive_database_setup
    from gaia.validator.db.connection import Database

    kinds = (Behaviour.HONEST, Behaviour.PERSISTENCE, Behaviour.COPY)
    chosen = [spec for spec in population(miners + 12) if spec.behaviour in kinds][:miners]
    server = EmbeddedPostgres(state)
    server.prepare()
    process = server.start()
    try:
        while not server.is_ready():
            await asyncio.sleep(0.05)
        database = await Database.connect(embedded_dsn(state), timeout_s=20, pool_size=4)
        await run_comprehensive_database_setup(database)
        settings = small_settings(state, FIRST_INIT_TIME, runs, shadow_rule_set="gaia-next")
        await make_runs(settings.weather, database, chosen, FIRST_INIT_TIME, scratch)
        await database.close()
    finally:
        process.terminate()
        process.wait(20)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--runs", type=int, default=100, metavar="N", help="runs to make (100)")
    add("--miners", type=int, default=4, metavar="N", help="miners in each (4)")
    add("--workers", type=_counts, default=[1, 2, 8], metavar="N,N", help="replay with so many (1,2,8)")
    add("--state", type=Path, metavar="DIR", help="keep the runs there, or replay those that are there")
    add("--json", action="store_true", help="print one JSON object")
    return parser


def _counts(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    python = bootstrap.ensure_environment()
    if Path(sys.prefix) != python.parents[1]:
        os.execv(python, [str(python), *sys.argv])
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
