"""Runs a local subnet under Prometheus, and checks the dashboard, the metrics and the alerts.

    python3 scripts/check_monitoring.py [--json]            panels have data; metrics are emitted and documented
    python3 scripts/check_monitoring.py --faults [NAME ...]  real faults fire their alerts, seen at a webhook
    python3 scripts/check_monitoring.py --silence DAYS       days without faults fire none but the dead man's switch

It prints figures, ratios and violations; exit code 1: something is violated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_DAYS = 6
"""Days of the subnet that is looked at. What is read from the database is renewed every 15 s, while runs must be open."""
_PATIENCE_S = 300.0


def main(arguments: Sequence[str]) -> int:
    from bench import table, use_project_python

    use_project_python()
    from monitored.programs import ProgramFailed

    options = _parser().parse_args(arguments)
    try:
        result = _run(options)
    except ProgramFailed as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(result, sort_keys=True) if options.json else table(result))
    return 1 if result["violations"] else 0


def _run(options: argparse.Namespace) -> dict[str, Any]:
    check = _check_of(options)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_awaited(check, options.keep))
    with tempfile.TemporaryDirectory(prefix="monitoring-") as folder:
        return asyncio.run(_awaited(check, Path(folder)))


async def _awaited(check: Callable[[Path], Awaitable[dict[str, Any]]], folder: Path) -> dict[str, Any]:
    return await check(folder)


def _check_of(options: argparse.Namespace) -> Callable[[Path], Awaitable[dict[str, Any]]]:
    patience = _PATIENCE_S * options.patience
    if options.faults is not None:
        from monitored.faults import campaign

        return lambda folder: campaign.check(folder, names=options.faults, patience=options.patience)
    if options.silence:
        from monitored import silence

        return lambda folder: silence.check(folder, days=options.silence, patience=patience)
    from monitored import coverage

    return lambda folder: coverage.check(folder, miners=options.miners, days=_DAYS, patience=patience)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="check_monitoring.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--json", action="store_true", help="print nothing but one JSON object")
    add("--miners", type=int, default=12, metavar="N", help="miners of the subnet (12)")
    add("--faults", nargs="*", metavar="NAME", help="inject these faults, or all")
    add("--silence", type=int, default=0, metavar="DAYS", help="play this many days without faults")
    add("--keep", type=Path, metavar="DIR", help="write everything below this folder, and leave it")
    add("--patience", type=float, default=1.0, metavar="TIMES", help="all limits of time (1)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
