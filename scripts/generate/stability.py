"""Generates docs/reference/stability.md, and keeps the names on which operators may build.

A name that is new is added. A name that is gone, or means something else, is an error: only a new major version
may take it out of stable_names.json, by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Metric

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

from alerting.table import GROUPS  # noqa: E402 - where to find it is said above

from gaia.cli.parsers import parser  # noqa: E402 - likewise
from gaia.validator.utils.config import RETIRED, Settings, variable_of  # noqa: E402 - likewise
from gaia.validator.utils.errors import ExitCode  # noqa: E402 - likewise
from generate.metrics_page import all_families, name_of  # noqa: E402 - likewise

PAGE = ROOT / "docs" / "reference" / "stability.md"
NAMES = ROOT / "scripts" / "supplies" / "stable_names.json"
Names = dict[str, dict[str, str]]
"""Kind -> name -> what else about it must not change."""

KINDS: Mapping[str, tuple[str, str]] = {
    "settings": (
        "settings.md",
        "The name. A default may change in a minor version.",
    ),
    "exit codes": ("exit-codes.md", "The name and the number."),
    "commands": ("cli.md", "The name."),
    "options": ("cli.md", "The name. Options are added; none is taken away."),
    "metrics": ("metrics.md", "The name, its kind and its labels. Label values and series are added."),
    "alerts": (
        "../runbooks/README.md",
        "The name, and that it has a runbook. Thresholds may change in a minor version.",
    ),
}
"""Kind -> its page, and what is stable about a name of it."""


def main() -> int:
    """Write names and page; return 1, and write nothing, if a name that was promised is gone."""
    kept, now = stored(), names_now()
    broken = list(broken_promises(kept, now))
    for sentence in broken:
        print(f"{sentence}; see docs/reference/stability.md.", file=sys.stderr)
    if broken:
        return 1
    NAMES.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(render(now))
    return 0


def stored() -> Names:
    """Return the names of the last generation; none before the first."""
    found: Names = json.loads(NAMES.read_text()) if NAMES.exists() else {}
    return found


def names_now() -> Names:
    """Return the names that this version has."""
    families = {name_of(family): family for family in all_families()}
    return {
        "settings": dict.fromkeys((variable_of(name) for name in Settings.model_fields), ""),
        "exit codes": {code.name: str(code.value) for code in ExitCode},
        "commands": dict.fromkeys((command.prog for command in _commands(parser())), ""),
        "options": {
            f"{command.prog} {option}": "" for command in _commands(parser()) for option in _options(command)
        },
        "metrics": {name: _shape(family) for name, family in families.items()},
        "alerts": {alert.name: "" for group in GROUPS for alert in group.alerts},
    }


def _shape(family: Metric) -> str:
    """Return kind and labels of a family, such as "gauge by role, seat"."""
    labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
    return f"{family.type} by {', '.join(labels)}" if labels else family.type


def _options(command: argparse.ArgumentParser) -> list[str]:
    return [option for action in command._actions for option in action.option_strings]  # noqa: SLF001 - as below


def broken_promises(kept: Names, now: Names) -> Iterator[str]:
    """Yield a sentence without full stop for each name that is gone or means something else.

    >>> list(broken_promises({"exit codes": {"PORT_BUSY": "11"}}, {"exit codes": {"PORT_BUSY": "12"}}))
    ['exit codes: PORT_BUSY was 11 and is 12']
    """
    for kind, names in kept.items():
        present = now.get(kind, {})
        for name, meaning in names.items():
            if name in present and present[name] != meaning:
                yield f"{kind}: {name} was {meaning} and is {present[name]}"
            elif name not in present and name not in RETIRED:
                yield f"{kind}: {name} is gone"


def render(now: Names) -> str:
    """Return the text of the page."""
    rows = [f"| [{kind}]({page}) | {len(now[kind])} | {promise} |" for kind, (page, promise) in KINDS.items()]
    return _PAGE.replace("ROWS", "\n".join(rows))


def _commands(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in top._actions:  # noqa: SLF001 - argparse offers no other way to read them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - likewise
            for each in action.choices.values():
                yield each
                yield from _commands(each)


_PAGE = """# Stability

Generated by `scripts/generate/stability.py`, which ends with an error if a name of the first table is gone.

Versions follow [Semantic Versioning](https://semver.org/). What is stable stays as it is for all releases of one major
version. A name is retired in three steps:

1. A minor version says so in the changelog, under "Deprecated", with what replaces it. The old name works as before.
2. It works for at least six months, and for at least two minor versions.
3. The next major version takes it away. A setting is then ignored, not refused, and `gaia doctor` names it.

## What is stable

| names | number | what is stable |
|---|---|---|
ROWS
| [probes](endpoints.md) | | The paths, the status codes, and the names of the checks in `?verbose`. |
| output of `--json` | | Members are added; none is taken away or changes its unit. See [status](status-json.md). |
| database and data folder | | Each release takes over what any earlier release of the same major version has left. |
| scores under a named rule set | | The same inputs give the same bits. A change of a rule is a new rule set. |

## What is not

- Python modules: the validator is a program, not a library.
- Tables of the database, and files in the data folder: read them with `gaia`.
- The words of log lines, screens, messages and pages. The events of [logs](logs.md) change in minor versions; the changelog says so.
- Panels of the dashboard, and recording rules.
- What a page or a changelog entry calls experimental.

## How urgent an update is

Each release in the changelog has a table "Update priority" with a line for each kind of user:

| priority | meaning |
|---|---|
| high | Update today: weights, keys or money are at risk. |
| medium | Update this week. |
| low | Update when it suits you. |
| none | Nothing changes for you. |
"""

if __name__ == "__main__":
    sys.exit(main())
