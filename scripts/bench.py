"""Runs benchmarks side by side: `python3 scripts/bench.py NAME --json`; each NAME is a file in benchmarks/."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
VENV_PYTHON = HERE.parent / ".venv" / "bin" / "python"


def main(arguments: Sequence[str]) -> int:
    names = benchmarks()
    parser = argparse.ArgumentParser(prog="bench.py", description=__doc__)
    parser.add_argument("name", choices=names)
    chosen = parser.parse_args(arguments[:1]).name
    use_project_python()
    module = importlib.import_module(f"benchmarks.{chosen}")
    details = argparse.ArgumentParser(prog=f"bench.py {chosen}", description=module.__doc__)
    details.add_argument("--json", action="store_true", help="print nothing but one JSON object")
    details.add_argument("--quick", action="store_true", help="few repetitions: does it run, not how fast")
    module.add_arguments(details)
    chosen_options = details.parse_args(arguments[1:])
    result = module.run(chosen_options)
    print(json.dumps(result, sort_keys=True) if chosen_options.json else table(result))
    return 1 if result.get("violations") else 0


def benchmarks() -> list[str]:
    """Return the names of the benchmarks."""
    return sorted(path.stem for path in (HERE / "benchmarks").glob("[!_]*.py"))


def table(result: Mapping[str, Any]) -> str:
    """Yield the lines of a result for people: one line per figure, under its heading."""
    lines: list[str] = []
    for heading, figures in result.items():
        lines.append(heading)
        rows = figures.items() if isinstance(figures, Mapping) else [("", figures)]
        lines += [f"  {name:<32} {_shown(value)}" for name, value in rows]
    return "\n".join(lines)


def use_project_python() -> None:
    """Restart in the project's environment, if this is another Python."""
    if VENV_PYTHON.exists() and Path(sys.prefix).resolve() != VENV_PYTHON.parent.parent.resolve():
        os.execv(VENV_PYTHON, [str(VENV_PYTHON), *sys.argv])


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
