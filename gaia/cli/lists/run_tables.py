"""Prints one run for people: its head, its leads, the groups of its forecasts, and a row for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.lists.awaiting import SetState
from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind

if TYPE_CHECKING:
    from gaia.cli.lists.awaiting import LeadShown
    from gaia.cli.lists.one_run import ForecastShown, RunShown

_STEPS = {"ask": "ask miner", "freeze": "get manifest", "": ""}
_FEW = 8
"""Forecasts that are overlooked without a table of their groups."""


def print_run(found: RunShown, asked: int) -> None:
    """Print one run; `asked` is the number of its forecasts, of which some may be left out."""
    tables.print_lines(*_head(found))
    if found.run.is_open:
        tables.print_lines("")
        _print_leads(found.leads)
    if len(found.forecasts) > _FEW:
        tables.print_lines("")
        _print_groups(found.forecasts)
    tables.print_lines("")
    if len(found.forecasts) < asked:
        tables.print_lines(f"{len(found.forecasts)} of {tables.counted(asked, 'forecast')}:")
    if found.forecasts:
        _print_forecasts(found)


def lead_named(kind: str | None, lead_hours: int | None) -> str:
    """Return a lead as it is shown.

    >>> lead_named("day1", 12), lead_named("final", 24)
    ('day 1 +12 h', '+24 h')
    """
    return f"{'day 1 ' if kind == LeadKind.DAY1 else ''}+{lead_hours} h"


def _head(found: RunShown) -> Iterator[str]:
    run = found.run
    yield f"run        {run.run_id}, {run.state}" + ("; its scores are not final" if run.is_open else "")
    yield f"opened     {tables.shown(run.opened_at)}, completed {tables.shown(run.completed_at)}"
    unknown = "" if found.knows_rule_set else "; this release does not know these rules"
    yield f"rules      {run.rule_set}{unknown}"
    if run.imported_from:
        yield f"imported   from {run.imported_from}; it cannot be computed anew"
    yield (
        f"forecasts  {run.forecasts}: {run.scored} scored, {run.rejected} rejected, {run.excused} excused,"
        f" {run.forecasts - run.scored - run.rejected - run.excused} in work"
    )
    parts = [
        (name, [lead for lead in found.leads if lead.kind is kind])
        for name, kind in (("day 1", LeadKind.DAY1), ("final", LeadKind.FINAL))
    ]
    told = (f"{name} {sum(lead.scored > 0 for lead in leads)} of {len(leads)}" for name, leads in parts)
    yield f"leads      scored: {', '.join(told)}"


def _print_leads(leads: Sequence[LeadShown]) -> None:
    tables.print_table(
        ("lead", ">scored", ">lost?", "truth due", "references", "next look??", "~waits for"),
        [
            (
                *(lead_named(lead.kind, lead.lead_hours), lead.scored, lead.lost, lead.truth_due_at),
                f"{len(lead.references) - len(lead.missing)} of {len(lead.references)}",
                lead.ready_at,
                "; ".join(_missing(lead)),
            )
            for lead in leads
        ],
    )


def _missing(lead: LeadShown) -> Iterator[str]:
    if all(one.state is SetState.UNASKED for one in lead.references):
        yield "its time; nothing was asked for yet"
        return
    for one in lead.missing:
        yield one.role + (f" ({tables.one_line(one.last_error)})" if one.last_error else "")


def _print_groups(forecasts: Sequence[ForecastShown]) -> None:
    """Print one row for all forecasts that are in the same state and wait for the same step."""
    grouped: dict[tuple[str, str], list[ForecastShown]] = {}
    for row in forecasts:
        grouped.setdefault((row.state, _next(row)), []).append(row)
    tables.print_table(
        (">forecasts", "state", "next", "first at", "last at?"),
        [
            (len(rows), state, step, _moment(rows, first=True), _moment(rows, first=False))
            for (state, step), rows in grouped.items()
        ],
    )


def _moment(rows: Sequence[ForecastShown], *, first: bool) -> datetime | None:
    moments = [row.next_at for row in rows if row.next_at is not None]
    return (min if first else max)(moments, default=None)


def _print_forecasts(found: RunShown) -> None:
    wanted = f" of {len(found.leads_wanted)}" if found.leads_wanted else ""
    scores = [
        (row.committed_at, row.day1, f"{row.leads}{wanted}", row.overall, row.reason or "")
        for row in found.forecasts
    ]
    if not found.run.is_open:
        tables.print_table(
            (*_WHO, "ended???", "committed??", ">day 1", ">leads", ">overall", "~reason"),
            [(*_who(row), row.since, *rest) for row, rest in zip(found.forecasts, scores, strict=True)],
        )
        return
    tables.print_table(
        (
            *(*_WHO, "since???", ">attempts??", "next", "at", "window ends????"),
            *("committed?????", ">day 1????", ">leads?", ">overall?", "~reason"),
        ),
        [
            (*_who(row), row.since, row.attempts, _next(row), row.next_at, row.window_ends_at, *rest)
            for row, rest in zip(found.forecasts, scores, strict=True)
        ],
    )


_WHO = (">uid", "hotkey?", "state")


def _who(row: ForecastShown) -> tuple[int, str, str]:
    return row.uid, tables.short(row.hotkey), row.state


def _next(row: ForecastShown) -> str:
    if row.next_step == "score":
        return f"score {lead_named(row.next_kind, row.next_lead_hours)}"
    return _STEPS[row.next_step]
