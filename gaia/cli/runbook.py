"""The command runbook: looks at everything that an alert's page names, and says which cause holds."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.runbooks.facts import gather
from gaia.cli.runbooks.table import PREFIX, RUNBOOKS, named
from gaia.cli.select import NotThere
from gaia.cli.source import open_source
from gaia.cli.status.scrape import metrics_url
from gaia.validator.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from gaia.cli.runbooks.branch import Branch, Runbook
    from gaia.cli.source import Source

NOTHING = "None of the causes on the page holds now: the fault may be over."
AFTER = "Read what `gaia logs --level warning --since 1h` prints."
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A cause that holds."""

    cause: str
    evidence: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Answer of the command; its fields are the members of the object that `--json` prints."""

    alert: str
    meaning: str
    impact: str
    findings: Sequence[Finding]
    """Causes that hold, the most likely one first."""
    looked_at: int
    """Number of causes that were looked at."""


def runbook(arguments: argparse.Namespace) -> int:
    """Say which causes of an alert hold now, or list the alerts; return 1 if a cause holds."""
    if arguments.alert is None:
        return _list(as_json=arguments.json)
    wanted = named(arguments.alert)
    if wanted is None:
        close = difflib.get_close_matches(arguments.alert.removeprefix(PREFIX), RUNBOOKS, n=1)
        hint = f"did you mean {close[0]}?" if close else "`gaia runbook` lists all"
        raise NotThere(f"no alert is called {arguments.alert}; {hint}")
    source = open_source(arguments.state, arguments.env_file)
    endpoint = arguments.metrics_url or metrics_url(source.settings.observation)
    diagnosis = _diagnosed(wanted, source, endpoint, knows_secrets=arguments.state is None)
    if arguments.json:
        tables.print_json(diagnosis)
    else:
        tables.print_lines(*_lines(diagnosis))
    return 1 if diagnosis.findings else 0


def _diagnosed(wanted: Runbook, source: Source, endpoint: str, *, knows_secrets: bool) -> Diagnosis:
    with ExitStack() as stack:
        try:
            stack.enter_context(source)
        except ConfigurationError as error:
            # A database that cannot be opened may be what the alert is about.
            facts = gather(source, endpoint, knows_secrets=knows_secrets, database_error=str(error))
        else:
            facts = gather(source, endpoint, knows_secrets=knows_secrets)
    looks: list[tuple[Branch, str]] = [(branch, branch.look(facts)) for branch in wanted.branches]
    return Diagnosis(
        alert=PREFIX + wanted.alert,
        meaning=wanted.meaning,
        impact=wanted.impact,
        findings=[
            Finding(cause=branch.sentence, evidence=evidence, remedy=branch.remedy)
            for branch, evidence in looks
            if evidence
        ],
        looked_at=len(looks),
    )


def _list(*, as_json: bool) -> int:
    if as_json:
        tables.print_json({PREFIX + alert: each.meaning for alert, each in RUNBOOKS.items()})
    else:
        tables.print_lines(*(f"{PREFIX}{alert}: {each.meaning}" for alert, each in RUNBOOKS.items()))
    return 0


def _lines(diagnosis: Diagnosis) -> list[str]:
    lines = [diagnosis.alert, f"  {diagnosis.meaning}", f"  {diagnosis.impact}", ""]
    for finding in diagnosis.findings:
        lines += [f"{finding.cause}", f"  seen    {finding.evidence}", f"  remedy  {_plain(finding.remedy)}"]
    if not diagnosis.findings:
        lines += [NOTHING, f"  remedy  {_plain(AFTER)}"]
    return lines


def _plain(remedy: str) -> str:
    """Return a remedy for a terminal: links have their names, and code has no quotes.

    >>> _plain("Set `GAIA_SANDBOX`. See [Run on a cluster](../how-to/run-on-a-cluster.md).")
    'Set GAIA_SANDBOX. See Run on a cluster.'
    """
    return _LINK.sub(r"\1", remedy).replace("`", "")
