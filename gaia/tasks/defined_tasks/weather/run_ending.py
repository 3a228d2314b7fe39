"""Completes runs, and sums up each in one log line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import LIVING, State
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.validator.db import queries, run_endings
from gaia.validator.db.run_endings import Ending, LeadEnding

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.forecasts.received import Received
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.db.queries import Run

log = structlog.get_logger(__name__)

MOST_REASONS: Final = 5
"""Number of reasons for rejections in the line; each is a text that depends on the miner."""
_LONGEST_REASON = 80

Found = tuple[list[Ending], list[LeadEnding]]


class RunNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of a completed run, as its log line has them."""

    miners: int
    scored: int
    rejected: int
    excused: int
    rejected_for: list[str]
    """Most frequent reasons for rejections, each with its number."""
    leads_scored: int
    leads_lost: int
    truth_latency_h: float | None
    """Longest time from the valid time of a lead to its first score against ERA5; None: no lead has one."""
    cpu_s: float
    seconds: int
    """Time from the opening of the run to its end."""


async def complete_run(database: Database, run: Run, received: Received, now: datetime) -> bool:
    """Complete the run if none of its forecasts has work left, and log its numbers; return whether it is completed."""

    async def write(connection: Connection) -> Found | None:
        if not await queries.complete_run(connection, run.run_id, LIVING, now):
            return None
        leads = await run_endings.lead_endings(connection, run.run_id, run.rule_set)
        return await run_endings.endings(connection, run.run_id), leads

    found = await database.run(write)
    if found is None:
        return False
    endings, leads = found
    received_bytes, is_whole = received.take(run.run_id)
    log.info(
        "run_completed",
        rule_set=run.rule_set,
        **msgspec.structs.asdict(numbers_of(run, endings, leads, now)),
        received_bytes=received_bytes,
        # After a restart, the bytes before it are not known.
        received_since="opening" if is_whole else "restart",
    )
    return True


def numbers_of(run: Run, endings: Sequence[Ending], leads: Sequence[LeadEnding], now: datetime) -> RunNumbers:
    """Return the numbers of a run that is completed at `now`."""
    rejected = [one for one in endings if one.state is State.REJECTED]
    latencies = [
        one.first_scored_at - run.init_time - timedelta(hours=one.lead_hours)
        for one in leads
        if one.kind == LeadKind.FINAL and one.first_scored_at is not None
    ]
    longest = max(latencies, default=None)
    return RunNumbers(
        miners=sum(one.forecasts for one in endings),
        scored=_count(endings, State.SCORED),
        rejected=_count(endings, State.REJECTED),
        excused=_count(endings, State.EXCUSED),
        rejected_for=[f"{one.forecasts} x {one.reason[:_LONGEST_REASON]}" for one in rejected[:MOST_REASONS]],
        leads_scored=sum(one.scored for one in leads),
        leads_lost=sum(one.lost for one in leads),
        truth_latency_h=None if longest is None else round(longest / timedelta(hours=1), 1),
        cpu_s=round(sum(one.cpu_s for one in leads), 2),
        seconds=round((now - run.opened_at).total_seconds()),
    )


def _count(endings: Sequence[Ending], state: State) -> int:
    return sum(one.forecasts for one in endings if one.state is state)
