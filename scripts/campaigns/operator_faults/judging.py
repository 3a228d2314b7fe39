"""Judges what the tools said: pure functions of the table and of their answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gaia.cli.runbooks import shared
from gaia.cli.runbooks.table import PREFIX

if TYPE_CHECKING:
    from campaigns.operator_faults.table import Fault

_NUMBER: Final = re.compile(r"[\d.]+")
_FAULTY: Final = ("warning", "failure")
_OF_OTHERS: Final = {shared.HOST_BUSY.sentence, shared.HOST_FULL.sentence}
Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one tool said, and whether that was right."""

    said: str
    is_right: bool


def troubles_of(answer: Answer) -> list[str]:
    """Return the names of the troubles of `gaia status --json`, the worst first, without their prefix.

    >>> troubles_of({"troubles": [{"name": "ValidatorProcessDown"}]})
    ['ProcessDown']
    """
    return [trouble["name"].removeprefix(PREFIX) for trouble in answer["troubles"]]


def is_named(fault: Fault, answer: Answer) -> bool:
    """Return whether `gaia status` names the fault, whatever else it says."""
    return not fault.status.isdisjoint(troubles_of(answer))


def of_status(fault: Fault, answer: Answer) -> Verdict:
    """Judge `gaia status`: it names the fault, and nothing that is neither the fault nor its consequence."""
    names = troubles_of(answer)
    is_right = (
        answer["exit_code"] != 0 and is_named(fault, answer) and set(names) <= fault.status | fault.beside
    )
    return Verdict(said=", ".join(names) or "all is well", is_right=is_right)


def of_doctor(fault: Fault, before: Answer, answer: Answer) -> Verdict:
    """Judge `gaia doctor` by what it says and did not say before the fault."""
    fresh = news_of(before, answer)
    is_found = not fault.doctor.isdisjoint(fresh) if fault.doctor else True
    is_true = set(fresh) <= fault.doctor | fault.doctor_beside
    return Verdict(said=", ".join(fresh) or "nothing new", is_right=is_found and is_true)


def news_of(before: Answer, answer: Answer) -> list[str]:
    """Return the checks that find something which they did not find before, numbers aside."""
    known = {_finding(check) for check in before["checks"]}
    return [
        check["name"]
        for check in answer["checks"]
        if check["result"] in _FAULTY and _finding(check) not in known
    ]


def of_runbook(fault: Fault, answer: Answer) -> Verdict:
    """Judge `gaia runbook`: the first cause that it names is the right one, the load of a shared machine aside."""
    causes = [finding["cause"] for finding in answer["findings"] if finding["cause"] not in _OF_OTHERS]
    right = {branch.sentence for branch in fault.branches}
    return Verdict(said=" ".join(causes) or "no cause", is_right=bool(causes) and causes[0] in right)


def _finding(check: Answer) -> tuple[str, str, str]:
    return check["name"], check["result"], _NUMBER.sub("0", check["words"])


def result_of(rows: Sequence[Answer], unplayed: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """Return {figures, ratios, violations} of a campaign."""
    counts = {tool: sum(row[tool]["right"] for row in rows) for tool in TOOLS}
    wrong = [
        f"{row['fault']}: {tool} said: {row[tool]['said']}"
        for row in rows
        for tool in TOOLS
        if not row[tool]["right"]
    ]
    well = [row["fault"] for row in rows if row["called_well"]]
    enough = LEAST_RIGHT * len(rows)
    return {
        "figures": {
            "faults": len(rows),
            **counts,
            "seconds": round(seconds),
            "wrong": wrong,
            "rows": list(rows),
        },
        "ratios": {tool: round(count / len(rows), 3) if rows else 0.0 for tool, count in counts.items()},
        "violations": [
            *(
                f"{tool} is right in {count} of {len(rows)} only"
                for tool, count in counts.items()
                if count < enough
            ),
            *(f"{name} is called well" for name in well),
            *(f"{name} was not played: {reason}" for name, reason in unplayed.items()),
        ],
    }


TOOLS: Final = ("status", "doctor", "runbook")
LEAST_RIGHT: Final = 0.9
"""Share of the faults in which each tool must be right."""
