#!/usr/bin/env python3
"""Converts the coastlines of npm's world-atlas to the small file for maps; standard library only.

npm pack world-atlas && tar xzf world-atlas-*.tgz
python3 scripts/generate/data/coastlines.py package/land-110m.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[3] / "gaia" / "cli" / "data" / "coastlines.json"
DECIMALS = 2
Point = tuple[float, float]


def main(arguments: Sequence[str]) -> None:
    """Read the TopoJSON named on the command line, write `TARGET`."""
    lines = list(coastlines(json.loads(Path(arguments[0]).read_text())))
    TARGET.write_text(json.dumps(lines, separators=(",", ":")) + "\n")
    print(f"{len(lines)} lines, {sum(map(len, lines))} points, {TARGET.stat().st_size} bytes")


def coastlines(topology: dict[str, Any]) -> Iterator[list[Point]]:
    """Yield each arc as (longitude, latitude) in degrees, without the frame of the map."""
    (scale_x, scale_y), (shift_x, shift_y) = (
        topology["transform"]["scale"],
        topology["transform"]["translate"],
    )
    for arc in topology["arcs"]:
        # TopoJSON stores integers, each point as its difference from the one before.
        points = accumulate(arc, lambda one, step: [one[0] + step[0], one[1] + step[1]])
        line = [
            (round(x * scale_x + shift_x, DECIMALS), round(y * scale_y + shift_y, DECIMALS))
            for x, y, *_ in points
        ]
        yield from _without_frame(line)


def _without_frame(line: list[Point]) -> Iterator[list[Point]]:
    """Yield a line cut where it follows the date line or the map's lower edge."""
    piece = line[:1]
    for (x, y), (next_x, next_y) in pairwise(line):
        along_edge = abs(x) == abs(next_x) == 180.0 or min(y, next_y) < -85.0
        if along_edge or abs(next_x - x) > 180.0:
            yield from [piece] if len(piece) > 1 else []
            piece = []
        piece.append((next_x, next_y))
    yield from [piece] if len(piece) > 1 else []


if __name__ == "__main__":
    main(sys.argv[1:])
