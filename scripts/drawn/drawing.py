"""Draws what was played, judges it, and keeps the pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from drawn import judge, node
from drawn.board import read, slug
from drawn.colours import worst
from drawn.scenes import DASHBOARD, EMPTY, LOST, RUNNING, SITE
from drawn.small import shrink
from gaia.validator.core.site.look import CSS

WIDTHS: Final = (1280, 390)
MOST_BYTES: Final = 2_000_000
"""Bytes that all pictures together may have, because they are kept in docs."""
_SETTLE_MS: Final = 1500
_DRAW_S: Final = 900.0


def drawn(folder: Path, modules: Path, out: Path, patience: float) -> dict[str, Any]:
    """Draw the scenes below `folder` into `out`; return {figures, ratios, violations}."""
    node.install(modules)
    board = read(folder / "board" / "board.json")
    shutil.rmtree(folder / "taken", ignore_errors=True)
    job = {
        "widths": WIDTHS,
        "rows": [
            {"name": slug(place, row["title"]), "panels": len(row["panels"])}
            for place, row in enumerate(board["rows"])
        ],
        "pages": list(_pages(folder / "pages")),
        "settle_ms": _SETTLE_MS * patience,
    }
    found = node.take(modules, folder, job, _DRAW_S * patience)
    taken = sorted((folder / "taken").glob("*.png"))
    size = sum(shrink(path, out / path.name) for path in taken)
    dashboard = read(DASHBOARD)
    violations = [
        *judge.judge_board(found["board"], folder / "taken"),
        *judge.judge_thresholds(dashboard),
        *judge.judge_pages(found["pages"]),
        *judge.judge_style(CSS),
        *([f"the pictures have {size} bytes, more than {MOST_BYTES}"] if size > MOST_BYTES else []),
    ]
    return {
        "figures": {
            "chromium": found["chromium"],
            "panels": sum(len(row["panels"]) for row in board["rows"]),
            "series": _series(found["board"]),
            "pictures": len(taken),
            "picture_bytes": size,
            "pages_looked_at": len(found["pages"]),
            "axe_violations": sum(len(page["axe"]) for page in found["pages"]),
        },
        "ratios": {"panels_drawn": _share_drawn(found["board"], violations), **_distances()},
        "violations": violations,
    }


def _series(board: Sequence[Mapping[str, Any]]) -> int:
    first = [found for found in board if found["width"] == WIDTHS[0]]
    return sum(len(panel.get("series", ())) for found in first for panel in found["report"].values())


def _share_drawn(board: Sequence[Mapping[str, Any]], violations: Sequence[str]) -> float:
    """Return the share of the panels, at all widths, that are not empty."""
    wanted = sum(len(found["panels"]) for found in board)
    empty = sum(text.endswith((": no data", ": drawn empty")) for text in violations)
    return 1 - empty / wanted


def _distances() -> dict[str, float]:
    """Return the smallest distance of two colours of the site's lines, for the worst vision."""
    return {
        f"nearest_colours_{scheme}": min(
            worst(one, other)[0]
            for one, other in combinations(
                [value for name, value in colours.items() if name in ("c1", "c2", "c3", "c4", "c5")], 2
            )
        )
        for scheme, colours in judge.schemes(CSS).items()
    }


def _pages(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the pages to look at, and the name of the picture of those that are kept."""
    for scene in (RUNNING, SITE, EMPTY, LOST):
        runs = sorted((folder / scene / "runs").glob("*.html"))
        shots = {f"{scene}/index.html": f"page-{scene}"}
        if scene == RUNNING:
            # The newest run, which is open.
            shots |= {_path(folder, path): "page-run" for path in runs[-1:]}
        if scene == SITE:
            shots |= {f"{scene}/leaderboard.html": "page-leaderboard"}
            shots |= dict.fromkeys(_best(folder / scene), "page-miner")
        for path in sorted((folder / scene).rglob("*.html")):
            name = _path(folder, path)
            if scene in (RUNNING, LOST) and name not in shots:
                # The exported site has the same pages, and all of them are looked at there.
                continue
            yield {"path": name, **({"shot": shots[name]} if name in shots else {})}


def _best(site: Path) -> Iterator[str]:
    """Yield the path of the page of the best miner."""
    miners = json.loads((site / "data" / "leaderboard.json").read_text())["miners"]
    if miners:
        yield f"{SITE}/miners/{miners[0]['hotkey']}.html"


def _path(folder: Path, page: Path) -> str:
    return page.relative_to(folder).as_posix()
