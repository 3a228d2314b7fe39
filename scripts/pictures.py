"""Draws the dashboard and the pages of a local subnet, and checks what a person would see.

    python3 scripts/pictures.py [--json]    play the scenes, draw and check them, at 1280 and at 390 pixels
    python3 scripts/pictures.py --out DIR   write the pictures there, not to docs/pictures
    python3 scripts/pictures.py --from DIR  draw again what an earlier --keep DIR has played

Panels are drawn by Grafana's components, not by a Grafana server. It prints figures, ratios and violations; exit code 1:
something is violated, or a program is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

KEPT = HERE.parent / "docs" / "pictures"


def main(arguments: Sequence[str]) -> int:
    from bench import table, use_project_python

    use_project_python()
    from monitored.faults.scene import Stuck
    from monitored.programs import ProgramFailed

    options = _parser().parse_args(arguments)
    try:
        if options.kept is not None:
            result = _drawn(options, options.kept)
        elif options.keep is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            result = _played(options, options.keep)
        else:
            with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
                result = _played(options, Path(folder))
    except (ProgramFailed, Stuck) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(result, sort_keys=True) if options.json else table(result))
    return 1 if result["violations"] else 0


def _played(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from drawn import node, scenes

    began = time.monotonic()
    # First: what is not installed is found before minutes of play.
    node.install(options.modules or folder / "modules")
    asyncio.run(scenes.play(folder, miners=options.miners, days=options.days, patience=options.patience))
    result = _drawn(options, folder)
    result["figures"]["seconds"] = time.monotonic() - began
    return result


def _drawn(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from drawn import drawing

    return drawing.drawn(folder, options.modules or folder / "modules", options.out, options.patience)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pictures.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--json", action="store_true", help="print nothing but one JSON object")
    add("--out", type=Path, default=KEPT, metavar="DIR", help="folder of the pictures (docs/pictures)")
    add("--miners", type=int, default=12, metavar="N", help="miners of the subnet (12)")
    add("--days", type=int, default=3, metavar="N", help="runs of the subnet (3)")
    add("--keep", type=Path, metavar="DIR", help="write everything below this folder, and leave it")
    add("--from", type=Path, dest="kept", metavar="DIR", help="draw what was played into this folder")
    add("--modules", type=Path, metavar="DIR", help="install the packages of npm here, and leave them")
    add("--patience", type=float, default=1.0, metavar="TIMES", help="all limits of time (1)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
