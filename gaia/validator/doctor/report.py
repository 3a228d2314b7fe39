"""Writes the findings for people and for programs; no secret is in them."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from gaia.validator.doctor.findings import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gaia.validator.doctor.examination import Report
    from gaia.validator.doctor.findings import Check, Finding

_NAME_WIDTH = 18
_WIDTH = 100
_ORDER = (Result.FAILURE, Result.WARNING, Result.SKIPPED, Result.OK)


def lines(report: Report, *, is_whole: bool = False) -> Iterator[str]:
    """Yield the lines for a person: what is wrong with its correction, then the counts.

    Parameters
    ----------
    is_whole
        Also print what is well, and what was skipped.
    """
    shown = _ORDER if is_whole else (Result.FAILURE, Result.WARNING)
    for result in shown:
        for check, finding in report.findings:
            if finding.result is result:
                yield from _entry(check, finding)
    if report.sources:
        yield report.sources
    counts = Counter(finding.result for _, finding in report.findings)
    parts = ", ".join(f"{counts[result]} {_plural(result, counts[result])}" for result in _ORDER)
    yield f"{len(report.findings)} checks in {report.seconds:.1f} s: {parts}"


def as_json(report: Report) -> str:
    """Return one JSON object: the worst result, the counts, and every finding."""
    value = {
        "result": report.worst,
        "sources": report.sources,
        "seconds": round(report.seconds, 3),
        "checks": [
            {
                "name": check.name,
                "group": check.group,
                "result": finding.result,
                "words": finding.words,
                "fix": [{**asdict(step), "text": str(step)} for step in finding.steps],
            }
            for check, finding in report.findings
        ],
    }
    return json.dumps(value, indent=2)


def _entry(check: Check, finding: Finding) -> Iterator[str]:
    head = f"{finding.result:8} {check.name:{_NAME_WIDTH}} "
    yield from textwrap.wrap(
        _printable(finding.words),
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    for step in finding.steps:
        # Not wrapped: a command is copied as one line.
        yield f"{'':8} {'fix':>{_NAME_WIDTH}} {_printable(str(step))}"


def _printable(text: str) -> str:
    """Return a text, which may repeat a stranger's words, without characters that control a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _plural(result: Result, count: int) -> str:
    return f"{result}s" if result in (Result.FAILURE, Result.WARNING) and count != 1 else str(result)
