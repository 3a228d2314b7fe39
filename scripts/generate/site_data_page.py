"""Writes docs/reference/site-data.md, which explains the JSON behind the pages of a site."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path

from gaia.validator.core.site import model
from gaia.validator.core.status.facts import Due

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "site-data.md"

HEAD = """# Data behind the pages of a site

<!-- Written by scripts/generate/site_data_page.py. -->

`gaia export site` writes one JSON file for each page. The IO-Engine serves the same files beside its own pages. Members keep
their names and meanings within a major version, and new ones may come. Times are ISO 8601 in UTC. Numbers keep every digit.

| page | data | object |
|---|---|---|
| `index.html` | `data/index.json` | `front` ([Front](#front)) and `operator` ([OperatorNotes](#operatornotes)) |
| `leaderboard.html` | `data/leaderboard.json` | [Leaderboard](#leaderboard) |
| `runs/ID.html` | `data/runs/ID.json` | [RunPage](#runpage) |
| `miners/HOTKEY.html` | `data/miners/HOTKEY.json` | [MinerPage](#minerpage) |

`data/files.json` lists all files of an exported site under `files`.

`operator` is null in an exported site, and wherever the endpoints are reached from other machines. Reasons then hold the words
`[address]` and `[path]` in place of addresses and paths.

A score has a `kind`. It is `final` if the run is completed, and never changes again. It is `open` if leads are missing; such a
score has no overall value, so it cannot be taken for a final one.
"""

MEANINGS = {
    "run_id": "Id of the run, which is its initial time.",
    "run_ids": "Ids of runs.",
    "init_time": "Initial time of the run.",
    "rule_set": "Rules of the scores.",
    "day1": "Score of the first day, against the GFS analysis; null if there is none.",
    "lead_hours": "Lead in hours.",
    "kind": "`day1` (against the GFS analysis) or `final` (against ERA5).",
    "field": "Field, such as `2t` or `z500`.",
    "rmse": "Root mean square error, in the unit of the field.",
    "bias": "Mean of forecast minus truth, in the unit of the field.",
    "acc": "Anomaly correlation coefficient.",
    "skill_climatology": "MSE skill against climatology.",
    "skill_gfs": "MSE skill against GFS.",
    "hotkey": "ss58 address of the miner.",
    "uid": "Uid of the miner in its newest run.",
    "state": "State of the run, forecast or vector; see the glossary.",
    "mean": "Mean overall score.",
    "rank": "Place on the leaderboard, from 1.",
    "epoch": "Number of the vector in the journal.",
    "intended_at": "Time at which the vector was journalled.",
    "settled_at": "Time at which its fate was known.",
    "block": "Block in which it landed.",
    "extrinsic": "Id of the extrinsic.",
    "title": "Title of the picture.",
    "opened_at": "Time at which the run opened.",
    "completed_at": "Time at which it was completed; null if it is open.",
    "source": "Archive.",
    "sets": "Number of missing sets.",
    "health": "`degraded` or `stuck`.",
    "name": "Name of the alert about it.",
    "problem": "The problem in words.",
    "remedy": "The command or the page that helps.",
    "party": "Party that fails.",
    "began_at": "Time of the first failure.",
    "last_at": "Time of the newest failure.",
    "evidence": "The newest error.",
    "version": "Version of the program that made the page.",
    "leads": "Scores of its leads.",
    "standing": "Newest standing; null without a final score.",
    "pictures": "Pictures of its scores.",
    "fields": "Errors field by field.",
    "miners": "The best first.",
    "awaited": "Truth that is awaited.",
    "troubles": "What is wrong, the worst first.",
    "incidents": "Outside parties that fail now.",
    "at": "Time of the event.",
    "what": "The event in words.",
}
"""Member -> meaning, where the model does not say it."""

HIDDEN = {"Site"}


def objects() -> list[type]:
    """Return the classes of the model, those of pages first."""
    pages = [model.Front, model.OperatorNotes, model.Leaderboard, model.RunPage, model.MinerPage]
    named = [
        each for _, each in inspect.getmembers(model, inspect.isclass) if each.__module__ == model.__name__
    ]
    return [*pages, *(each for each in named if each not in pages and each.__name__ not in HIDDEN), Due]


def meanings(kind: type) -> dict[str, str]:
    """Return member -> meaning, from the strings below the members, else from `MEANINGS`."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    said: dict[str, str] = {}
    last = ""
    for line in definition.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            last = line.target.id
        elif isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and last:
            said[last] = " ".join(str(line.value.value).split())
        else:
            last = ""
    return {each: said.get(each) or MEANINGS.get(each, "") for each in kind.__annotations__}


def render() -> str:
    """Return the content of the page."""
    parts = [HEAD]
    for kind in objects():
        sentence = (inspect.getdoc(kind) or "").splitlines()[0]
        rows = [f"| `{name}` | {meaning} |" for name, meaning in meanings(kind).items()]
        parts.append(
            "\n".join(
                [f"\n## {kind.__name__}\n", f"{sentence}\n", "| member | meaning |", "|---|---|", *rows, ""]
            )
        )
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
