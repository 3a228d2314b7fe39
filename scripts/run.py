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
        "The first start makes .venv and installs requirements.lock into it.",
    )
    options.add_argument("--once", action="store_true", help="end after the first weights")
    options.add_argument("--json", action="store_true", help="print the summary as one JSON object")
    options.add_argument("--miners", type=int, metavar="N", help="how many miners take part")
    options.add_argument("--days", type=int, metavar="D", help="how many daily runs to rehearse")
    options.add_argument("--grid", choices=["1.0", "0.25"], help="grid of the forecasts, in degrees")
    options.add_argument("--seed", type=int, metavar="S", help="the same seed gives the same scores")
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
