#!/usr/bin/env python3
"""Builds the images and runs docker-compose.yml for real: `python3 scripts/docker_ci.py --json`.

It needs a Docker engine with compose 2.24 or newer, and takes about half an hour where nothing is cached.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from campaigns.docker import checks
from campaigns.docker.bases import make_bases
from campaigns.docker.engine import Engine, EngineError, own_engine
from campaigns.docker.stack import stack

IMAGES = {"VALIDATOR_IMAGE": "gaia-validator:trial", "TOOLS_IMAGE": "gaia-tools:trial"}
PARTS = ("lint", "build", "libraries", "stack", "profiles", "database", "demo")
"""What can be chosen; `stack` and what follows use images that exist, if `build` is left out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen parts; print the figures; return 1 if a bar was broken, 2 if the engine failed."""
    options = parser().parse_args(arguments)
    figures: dict[str, Any] = {}
    violations: list[str] = []
    code = 0
    try:
        with _engine(options) as engine:
            if options.local_bases:
                make_bases(engine, options.python)
            _run(engine, options.only or PARTS, figures, violations)
    except EngineError as error:
        violations.append(str(error))
        code = 2
    result = {**figures, "violations": violations, "passed": not violations}
    print(json.dumps(result, sort_keys=True) if options.json else _table(result))
    return code or (1 if violations else 0)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="scripts/docker_ci.py", description=__doc__)
    add = options.add_argument
    add("--json", action="store_true", help="print nothing but one JSON object")
    add("--only", action="append", choices=PARTS, help="run this part alone; may be repeated")
    add("--own-engine", action="store_true", help="start dockerd, and stop it at the end; needs root")
    add("--host-network", action="store_true", help="build with the network of this machine")
    add(
        "--local-bases",
        action="store_true",
        help="make stand-ins for the public images, where none can be pulled; needs root and mmdebstrap",
    )
    add(
        "--python",
        type=Path,
        default=Path("python3.12"),
        help="Python 3.12 that the stand-in's is copied from",
    )
    return options


@contextmanager
def _engine(options: argparse.Namespace) -> Iterator[Engine]:
    if options.own_engine:
        with own_engine() as engine:
            yield engine
    else:
        engine = Engine(build_network="host" if options.host_network else "default")
        engine.run("version")
        yield engine


def _run(engine: Engine, chosen: Sequence[str], figures: dict[str, Any], violations: list[str]) -> None:
    if "lint" in chosen:
        figures |= checks.lint(violations)
    if "build" in chosen:
        figures |= checks.build_images(engine, IMAGES, violations)
    if "libraries" in chosen:
        figures |= checks.libraries(engine, IMAGES, violations)
    if {"stack", "profiles"} & set(chosen):
        with stack(engine, IMAGES) as running:
            figures |= checks.start(running, violations)
            if "stack" in chosen:
                figures |= checks.crashes(running, violations)
            if "profiles" in chosen:
                figures |= checks.profiles(running, violations)
    if "database" in chosen:
        figures |= checks.database_for_tests(engine, IMAGES, violations)
    if "demo" in chosen:
        figures |= checks.demo(engine, IMAGES, violations)


def _table(result: dict[str, Any]) -> str:
    return "\n".join(f"{name:22} {json.dumps(value)}" for name, value in result.items())


if __name__ == "__main__":
    sys.exit(main())
