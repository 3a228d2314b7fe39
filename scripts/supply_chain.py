#!/usr/bin/env python3
"""Tells what the validator is made of, and looks for what no file of it may tell.

    .venv/bin/python scripts/supply_chain.py licences       # writes docs/reference/licences.md
    .venv/bin/python scripts/supply_chain.py sbom -o F      # writes a CycloneDX bill of materials
    .venv/bin/python scripts/supply_chain.py scan           # looks for secrets and traces of a machine

The exit code is 1 if a licence is not accepted or not known, or if the scan finds something.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from supplies import leaks, licences, sbom
from supplies.locked import runtime


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except licences.LicenceUnknown as error:
        print(f"{error}.", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of the commands."""
    top = argparse.ArgumentParser(
        prog="supply_chain.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("licences", help="write the page of licences").set_defaults(run=_licences)
    bill = commands.add_parser("sbom", help="write a bill of materials in CycloneDX 1.6")
    bill.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="file to write; default: standard output"
    )
    bill.set_defaults(run=_sbom)
    commands.add_parser("scan", help="look for leaks in every tracked file").set_defaults(run=_scan)
    return top


def _licences(_: argparse.Namespace) -> int:
    refused = licences.refused(runtime())
    for name, licence in refused.items():
        print(f"{name} is under {licence}, which is not accepted.", file=sys.stderr)
    licences.write()
    return 1 if refused else 0


def _sbom(options: argparse.Namespace) -> int:
    text = json.dumps(sbom.bill_of(list(runtime())), indent=2) + "\n"
    if options.output is None:
        sys.stdout.write(text)
    else:
        options.output.write_text(text)
    return 0


def _scan(_: argparse.Namespace) -> int:
    found = leaks.leaks_of_files()
    for leak in found:
        print(leak)
    print(f"{len(leaks.tracked_files())} files, {len(found)} leaks")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
