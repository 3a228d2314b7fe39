#!/usr/bin/env python3
"""Runs the whole subnet on this machine; makes its own environment first; standard library only."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import bootstrap


def main(arguments: Sequence[str]) -> None:
    """Replace this process by the local subnet, so that Ctrl-C and every other signal reach it directly."""
    parser().parse_known_args(arguments)
    python = bootstrap.ensure_environment()
    environment = dict(os.environ)
    paths = [str(bootstrap.ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    sys.stdout.flush()
    os.execve(python, [str(python), "-m", "gaia.localnet", *arguments], environment)


def parser() -> argparse.ArgumentParser:
    """Return the options of the local subnet, known here so that --help needs no environment."""
    options = argparse.ArgumentParser(
        prog="scripts/run.py",
        description="Run a local subnet on real weather: chain, archives, miners and the validator. "
        "The first start makes .venv and installs requirements/runtime.lock into it.",
    )
    add = options.add_argument
    add("--once", action="store_true", help="end after the first run's weights")
    add("--json", action="store_true", help="print one JSON object, and progress on standard error")
    add("--miners", metavar="N", help="size of the population (12)")
    add("--days", metavar="D", help="daily runs (1 with --once, else 3)")
    add("--grid", choices=("1.0", "0.25"), help="degrees (1.0)")
    add("--seed", metavar="S", help="shifts the forecasts' errors (0)")
    add("--rule-set", metavar="NAME", help="scoring and weights (gaia-2.9)")
    add("--recast", metavar="INDEX=BEHAVIOUR", help="let one miner behave otherwise, as 8=bad_redirect")
    add("--state", metavar="DIR", help="folder to write to, or to carry on (.localnet/<time>)")
    add("--keep", action="store_true", help="remove no older folder below .localnet")
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
