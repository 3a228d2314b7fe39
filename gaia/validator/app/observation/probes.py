"""Probes for operators' programs: named checks, and the answers made from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from gaia.validator.app.logging_config import redact
from gaia.validator.app.observation.serving import Answer, Request, text_answer

LIVE, READY, STARTED, METRICS = "/livez", "/readyz", "/startupz", "/metrics"
LOOP_STUCK_AFTER_S = 10.0
"""Seconds without a turn or a heartbeat after which the IO-Engine's event loop counts as stuck."""
_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must be true, and whether it is."""

    name: str
    is_well: bool
    reason: str
    """What was found, also if all is well."""
    fix: str = ""
    """What the operator can do if it is not true, as an imperative without a full stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The endpoints of one process; each function is called at each request, and must not block."""

    role: str
    probes: Mapping[str, Callable[[], Sequence[Check]]]
    """Path -> function that returns the checks behind it."""
    metrics: Callable[[], bytes]
    """Function that returns all metrics in Prometheus' text format 0.0.4."""
    pages: Callable[[str], Answer | None] | None = None
    """Function that returns the page at any other path; None: there are no pages."""

    def answer(self, request: Request) -> Answer | None:
        """Return the answer to a request; None if there is nothing at its path."""
        if request.path == METRICS:
            return Answer(HTTPStatus.OK, _PROMETHEUS, self.metrics())
        asking = self.probes.get(request.path)
        if asking is None:
            return None if self.pages is None else self.pages(request.path)
        return probe_answer(self.role, asking(), is_verbose=request.is_verbose)


def probe_answer(role: str, checks: Sequence[Check], *, is_verbose: bool) -> Answer:
    """Return 200 if all checks are well, else 503; as text the failed ones, as JSON all of them."""
    failed = [check for check in checks if not check.is_well]
    status = HTTPStatus.SERVICE_UNAVAILABLE if failed else HTTPStatus.OK
    if not is_verbose:
        lines = [f"{check.name}: {_shown(check.reason)}{_remedy(check)}" for check in failed]
        return text_answer(status, "\n".join(lines or ["ok"]) + "\n")
    report = {
        "status": "failing" if failed else "ok",
        "answered_by": role,
        "checks": [
            {
                "name": check.name,
                "state": "ok" if check.is_well else "failing",
                "reason": _shown(check.reason),
                "fix": "" if check.is_well else check.fix,
            }
            for check in checks
        ],
    }
    return Answer(status, _JSON, json.dumps(report, indent=2).encode() + b"\n")


def _remedy(check: Check) -> str:
    return f"; {check.fix}." if check.fix else "."


def _shown(reason: str) -> str:
    """Return the reason without secrets and control characters, because it may quote an outside party."""
    return str(redact({"reason": reason})["reason"])
