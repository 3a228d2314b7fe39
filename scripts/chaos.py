"""Injects faults into a working system and checks for losses: `python3 scripts/chaos.py pool --kills N --seed S`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

CAMPAIGNS = (
    "chain",
    "churn",
    "days",
    "hosts",
    "instances",
    "load",
    "moments",
    "operator",
    "pool",
    "refusals",
    "restores",
    "reveals",
    "run",
    "signer",
    "soak",
    "standby",
    "state",
)
"""Names of the campaigns; each is a file in campaigns/."""


def main(arguments: Sequence[str]) -> int:
    from bench import table, use_project_python

    parser = argparse.ArgumentParser(prog="chaos.py", description=__doc__)
    parser.add_argument("name", choices=CAMPAIGNS)
    chosen = parser.parse_args(arguments[:1]).name
    use_project_python()
    module = importlib.import_module(f"campaigns.{chosen}")
    details = argparse.ArgumentParser(prog=f"chaos.py {chosen}", description=module.__doc__)
    details.add_argument("--json", action="store_true", help="print nothing but one JSON object")
    module.add_arguments(details)
    options = details.parse_args(arguments[1:])
    result = module.run(options)
    print(json.dumps(result, sort_keys=True) if options.json else table(result))
    passed = result["passed"] if "passed" in result else not result["violations"]
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
