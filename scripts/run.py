#!/usr/bin/env python3
"""Runs a whole subnet on this machine; makes its own environment first; standard library only."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import bootstrap


def main(arguments: Sequence[str]) -> None:
    """Replace this process by the local subnet, so that signals such as Ctrl-C reach it directly."""
    parser().parse_known_args(arguments)
    python = bootstrap.ensure_environment()
    environment = dict(os.environ)
    paths = [str(bootstrap.ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    sys.stdout.flush()
    os.execve(python, [str(python), "-m", "gaia.localnet", *arguments], environment)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the local subnet, defined here so that --help needs no environment."""
    options = argparse.ArgumentParser(
        prog="scripts/run.py",
        description="Run a local subnet on real weather: chain, archives, miners and the validator. "
        "The first start makes .venv and installs requirements/runtime.lock into it.",
    )
    add = options.add_argument
    add("--once", action="store_true", help="stop once the weights of the first run are set")
    add("--json", action="store_true", help="print one JSON object; progress goes to standard error")
    add("--miners", metavar="N", help="number of miners; default: 12")
    add("--days", metavar="D", help="number of daily runs; default: 1 with --once, else 3")
    add("--grid", choices=("1.0", "0.25"), help="grid spacing in degrees; default: 1.0")
    add("--seed", metavar="S", help="seed of the forecast errors; default: 0")
    add("--rule-set", metavar="NAME", help="rule set for scores and weights; default: gaia-2.9")
    add(
        "--recast",
        metavar="INDEX=BEHAVIOUR",
        help="give one miner another behaviour, such as 8=bad_redirect; may be repeated",
    )
    add(
        "--metrics-port",
        metavar="PORT",
        help="serve the validator's metrics on this port of 127.0.0.1; default: 0, none",
    )
    add("--state", metavar="DIR", help="folder to write to or to continue; default: .localnet/<time>")
    add("--keep", action="store_true", help="keep all older folders below .localnet")
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
