"""Says what is wrong with the pictures: empty panels, text that does not fit, colours that people confuse."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from panels.marks import COLOURS
from PIL import Image

from drawn.colours import contrast, worst

NEAREST: Final = 0.07
"""Distance below which two colours need a second mark."""
LEAST_CONTRAST: Final = 3.0
"""WCAG 2.1, 1.4.11: contrast of graphical objects with what lies beside them."""
PANEL: Final = "#181b1f"
"""Background of a panel in Grafana's dark theme."""
FEWEST_PIXELS: Final = 20
_NEAR: Final = 60.0
"""Distance in RGB within which a pixel has the colour of a series; edges of lines are blended."""
_WIDE: Final = 1024
"""Width from which Grafana puts a legend beside its graph; on narrower screens legends scroll."""
_SAYS: Final = {
    "empty": "no run has opened yet",
    "lost": "The database could not be read",
    "running": "Forecasts in open runs.",
    "site": "Weights last set",
}
"""Scene -> words on its first page, without which the picture would show something else."""


class Mark(NamedTuple):
    """What tells a series from the others: its colour, and a second mark such as a dash."""

    name: str
    colour: str
    second: str


def confused(marks: Iterable[Mark]) -> Iterator[str]:
    """Yield the pairs that some people cannot tell apart."""
    for one, other in combinations(marks, 2):
        apart, vision = worst(one.colour, other.colour)
        if apart < NEAREST and one.second == other.second:
            yield f"{one.name} and {other.name} look alike ({vision}, {apart:.3f})"


def pale(marks: Iterable[Mark], paper: str) -> Iterator[str]:
    """Yield the marks whose colour is hard to see on its background."""
    for mark in marks:
        if (found := contrast(mark.colour, paper)) < LEAST_CONTRAST:
            yield f"{mark.name} has a contrast of {found:.1f}"


def judge_board(board: Iterable[Mapping[str, Any]], folder: Path) -> Iterator[str]:
    """Yield what is wrong with the drawn rows, whose pictures are in `folder`."""
    for found in board:
        width = found["width"]
        yield from (f"{found['picture']}: {error}" for error in found["errors"])
        with Image.open(folder / found["picture"]) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        for place in found["panels"]:
            panel = found["report"][place["id"]]
            for wrong in (*_content(panel, place, pixels), *_fit(place, width), *_look(panel)):
                yield f"{panel['title']} at {width} px: {wrong}"


def _content(panel: Mapping[str, Any], place: Mapping[str, Any], pixels: Any) -> Iterator[str]:
    if not panel.get("unit"):
        yield "its numbers have no unit"
    match panel["type"]:
        case "timeseries":
            drawn = [one for one in panel["series"] if one["points"] > 0]
            if not drawn:
                yield "no data"
            elif place["plot"] is None or _of_colours(pixels, place["plot"], drawn) < FEWEST_PIXELS:
                yield "drawn empty"
        case "stat":
            yield from _value(panel.get("value") or {"text": "", "color": PANEL}, place, pixels)
        case "table":
            if not panel.get("rows"):
                yield "no data"
        case other:
            yield f"nobody draws a panel of type {other}"


def _value(value: Mapping[str, Any], place: Mapping[str, Any], pixels: Any) -> Iterator[str]:
    if not re.search(r"\d|Yes|No$", value["text"]):
        yield "no data"
    elif _of_colours(pixels, place["box"], [{"color": value["color"]}]) < FEWEST_PIXELS:
        yield "drawn empty"
    if value.get("series", 1) > 1:
        yield f"{value['series']} values of one validator"


def _of_colours(pixels: Any, box: Sequence[float], series: Iterable[Mapping[str, Any]]) -> int:
    """Return how many pixels of a part of a picture have the colour of a series."""
    left, top, width, height = (round(number) for number in box)
    part = pixels[top : top + height, left : left + width].astype(float)
    count = 0
    for colour in {one["color"] for one in series}:
        wanted = np.array(rgb(colour), dtype=float)
        count += int((np.linalg.norm(part - wanted, axis=-1) < _NEAR).sum())
    return count


def rgb(colour: str) -> tuple[int, int, int]:
    """Return the parts of "#rrggbb" from 0 to 255."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#")[:6])
    return red, green, blue


def _fit(place: Mapping[str, Any], width: int) -> Iterator[str]:
    yield from (f"{text!r} is cut off" for text in place["clipped"])
    if place["scrolls"] and width >= _WIDE:
        yield "its legend or table does not fit"


def _look(panel: Mapping[str, Any]) -> Iterator[str]:
    marks = [
        Mark(one["name"], one["color"], " ".join(map(str, one["dash"]))) for one in panel.get("series", ())
    ]
    if len(marks) > 1:
        yield from (f"{one.name} has no look of its own" for one in marks if one.colour not in COLOURS)
    yield from confused(marks)
    yield from pale(marks, PANEL)


def judge_thresholds(dashboard: Mapping[str, Any]) -> Iterator[str]:
    """Yield the panels whose thresholds have colours that some people confuse."""
    for panel in dashboard["panels"]:
        steps = panel.get("fieldConfig", {}).get("defaults", {}).get("thresholds", {}).get("steps", ())
        marks = [Mark(f"the threshold {step['value']}", step["color"], "") for step in steps]
        for wrong in (*confused(marks), *pale(marks, PANEL), *pale(marks, "#ffffff")):
            yield f"{panel['title']}: {wrong}"


def judge_pages(pages: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what is wrong with the pages: accessibility, sideways scrolling, a state that is not shown."""
    for page in pages:
        name = f"{page['path']} at {page['width']} px, {page['colorScheme']}"
        if page["status"] != 200:
            yield f"{name}: status {page['status']}"
        if page["scroll"] > page["width"]:
            yield f"{name}: scrolls sideways, {page['scroll']} px wide"
        yield from (f"{name}: the picture {address} is missing" for address in page["missing"])
        if page["mute"]:
            yield f"{name}: {page['mute']} states are told by their colour alone"
        for found in page["axe"]:
            yield f"{name}: axe {found['id']}: {found['help']}: {found['nodes'][:2]}"
        scene, _, path = page["path"].partition("/")
        if path == "index.html" and _SAYS[scene] not in page["text"]:
            yield f"{name}: does not say {_SAYS[scene]!r}"


def schemes(css: str) -> dict[str, dict[str, str]]:
    """Return light and dark -> name -> colour, as a style sheet sets them."""
    light, _, dark = css.partition("@media (prefers-color-scheme:dark)")
    found = {name: _variables(text.partition("}")[0]) for name, text in (("light", light), ("dark", dark))}
    return {"light": found["light"], "dark": found["light"] | found["dark"]}


def _variables(text: str) -> dict[str, str]:
    return dict(re.findall(r"--(\w+):(#[0-9a-f]{3,6})\b", text))


def judge_style(css: str) -> Iterator[str]:
    """Yield the lines of the site's charts that some people confuse or do not see, in light and dark."""
    dashes = dict(re.findall(r"\.s(\d)\.line\{stroke-dasharray:([^}]+)\}", css))
    for scheme, colours in schemes(css).items():
        marks = [
            Mark(name, colour, dashes.get(name[1:], ""))
            for name, colour in colours.items()
            if re.fullmatch(r"c\d", name)
        ]
        for wrong in (*confused(marks), *pale(marks, colours["paper"])):
            yield f"site, {scheme}: {wrong}"
