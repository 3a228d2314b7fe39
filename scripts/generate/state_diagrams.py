"""Writes docs/explanation/job-ledger.md from the transition tables of the job ledger.

`python scripts/generate/state_diagrams.py`
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from gaia.validator.app.pool.job_states import (  # noqa: E402 - where to find it is said above
    JOB_ARROWS,
    JOB_STATES,
    WORKER_ARROWS,
    WORKER_STATES,
    Arrow,
)

PAGE = ROOT / "docs/explanation/job-ledger.md"

_OUTSIDE = "absent"
_INTRODUCTION = """\
# The job ledger

`JobLedger` decides which worker gets which unit, and what follows from each answer, death and deadline. It is in
`gaia/validator/app/pool/job_ledger.py`. It takes events and returns commands. It reads no clock and touches no
process, so a test can play any history in a millisecond.

`scripts/generate/state_diagrams.py` generates this page from the tables in `gaia/validator/app/pool/job_states.py`.
A test plays random histories. It compares every transition that it sees with these tables, in both directions.

An arrow is the net effect of one event. One event may move several workers and jobs. A worker that connects without
its unit returns the job to the queue. The ledger then assigns it to an idle worker.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(render_page())


def render_page() -> str:
    """Return the text of docs/explanation/job-ledger.md."""
    return "\n".join(
        [
            _INTRODUCTION,
            *_section("States of a worker", WORKER_STATES.items(), WORKER_ARROWS),
            "",
            *_section("States of a job", JOB_STATES.items(), JOB_ARROWS),
            "",
        ]
    )


def _section(title: str, states: Iterable[tuple[str, str]], arrows: Sequence[Arrow]) -> Iterator[str]:
    yield from (f"## {title}", "", *diagram(arrows), "", "| state | meaning |", "|---|---|")
    yield from (f"| `{state}` | {meaning} |" for state, meaning in states)
    yield from ("", "| from | to | events | why |", "|---|---|---|---|")
    for arrow in arrows:
        events = ", ".join(f"`{event}`" for event in arrow.events.split())
        yield f"| `{arrow.source}` | `{arrow.target}` | {events} | {arrow.why} |"


def diagram(arrows: Sequence[Arrow]) -> Iterator[str]:
    """Yield the lines of a Mermaid diagram; [*] means that the ledger has no record."""
    yield from ("```mermaid", "stateDiagram-v2")
    for arrow in arrows:
        source, target = (
            "[*]" if state == _OUTSIDE else str(state) for state in (arrow.source, arrow.target)
        )
        yield f"    {source} --> {target}: {', '.join(arrow.events.split())}"
    yield "```"


if __name__ == "__main__":
    main()
