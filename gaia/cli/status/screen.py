"""Writes the facts about a validator as lines for 80 columns and 24 rows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from gaia.cli.status.report import word_of
from gaia.cli.tables import counted, one_line
from gaia.validator.core.status.troubles import Trouble, ago, health_of
from gaia.validator.utils.chain.metagraph import BLOCK_S
from gaia.validator.utils.version import described

if TYPE_CHECKING:
    from gaia.validator.core.status.facts import Chain, Facts, Processes, Work

_LABEL = 12
_MOST_TROUBLES = 3
_MOST_DUE = 2
_PHASES = (
    ("planned", "asks miners for forecasts"),
    ("requested", "waits for manifests"),
    ("frozen", "scores day 1 against GFS, or waits for it"),
    ("scored_day1", "scores leads as ERA5 is published"),
)
"""State -> what the validator does while a forecast is in it; the first that applies is shown."""


def lines_of(facts: Facts, troubles: Sequence[Trouble], width: int | None) -> list[str]:
    """Return the lines of the status: first what is wrong, because a small screen shows the first lines.

    Parameters
    ----------
    troubles
        What is wrong, the worst first.
    width
        Cells in a line; longer lines are folded. None: any number.
    """
    health = word_of(health_of(list(troubles)))
    dry = ", dry run: nothing is signed" if facts.limits.is_dry_run else ""
    standby = ", stands by" if facts.stands_by else ""
    lines = [
        f"Gaia validator {described()}: {health}{standby}{dry}",
        *_line("time", _clock(facts), width),
        *_line("folder", facts.data_dir, width),
        *_wrong(troubles, width),
    ]
    for label, text in (
        *_lease(facts),
        *_earning(facts),
        *_weights(facts),
        *_doing(facts),
        ("processes", _processes(facts.processes)),
    ):
        lines += _line(label, text, width)
    return lines


def _line(label: str, text: str, width: int | None) -> list[str]:
    """Return a labelled text, folded under itself; words are not cut."""
    indent = " " * _LABEL
    if width is None:
        return [f"{label:<{_LABEL}}{text}"]
    return textwrap.wrap(
        text,
        max(width, _LABEL + 20),
        initial_indent=f"{label:<{_LABEL}}",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [label]


def _clock(facts: Facts) -> str:
    if facts.is_simulated:
        return f"{_moment(facts.now)} on the simulated clock of a rehearsal"
    return _moment(facts.now)


def _lease(facts: Facts) -> Iterator[tuple[str, str]]:
    lease = facts.lease
    if lease is None:
        return
    since = _moment(lease.taken_at)
    if facts.holds_lease:
        yield "lease", f"this validator holds it since {since}"
    elif lease.is_held:
        yield "lease", f"{one_line(lease.name)} holds it since {since}"
    else:
        yield "lease", f"nobody holds it; {one_line(lease.name)} took it last, {since}"


def _earning(facts: Facts) -> Iterator[tuple[str, str]]:
    chain = facts.chain
    if facts.stands_by:
        yield "earns", "what the holder of the lease earns, because both have one hotkey"
        return
    if chain is None:
        yield "earns", "unknown, because no engine has read the chain yet"
        return
    if chain.uid is None:
        yield "earns", f"nothing: hotkey {chain.hotkey} is not registered on subnet {chain.netuid}"
        return
    permit = "validator permit" if chain.has_permit else "no validator permit"
    paid = [
        f"{name} {value:.4f}"
        for name, value in (
            ("dividends", chain.dividends),
            ("emission a tempo", chain.emission),
            ("vtrust", chain.validator_trust),
            ("in the next epoch", chain.next_trust),
        )
        if value is not None
    ]
    yield (
        "earns",
        ", ".join([f"uid {chain.uid} of subnet {chain.netuid}", f"stake {chain.stake:g}", permit, *paid]),
    )
    yield "hotkey", chain.hotkey


def _weights(facts: Facts) -> Iterator[tuple[str, str]]:
    work, chain = facts.work, facts.chain
    if chain is not None and not facts.stands_by:
        yield "on chain", _standing(chain, facts)
    if work is None:
        return
    newest = work.weights
    if newest is None:
        yield "weights", "none computed yet" + ("" if work.has_scores else ": no forecast is scored yet")
        return
    text = (
        f"epoch {newest.epoch} {newest.state}, {newest.rule_set}, from {counted(len(newest.run_ids), 'run')}"
    )
    if newest.block is not None:
        text += f", block {newest.block}"
    if newest.error:
        text += f", {one_line(newest.error)}"
    yield "weights", f"{text}, {_moment(newest.intended_at)}"
    standing = work.weights_set
    if standing is not None and standing.epoch != newest.epoch:
        yield "last set", f"epoch {standing.epoch}, block {standing.block}"
    if work.weights_in_doubt:
        epochs = ", ".join(str(vector.epoch) for vector in work.weights_in_doubt[-5:])
        yield "in doubt", f"{len(work.weights_in_doubt)}: epoch {epochs}"


def _standing(chain: Chain, facts: Facts) -> str:
    """Return the age of our weights and when the next ones are due; in a rehearsal in blocks alone."""

    def blocks(number: int) -> str:
        return f"{number} blocks" if facts.is_simulated else f"{number} blocks ({ago(number * BLOCK_S)})"

    if chain.age_blocks is None:
        return f"no weights of ours; block {chain.block}"
    due = chain.due_blocks
    following = f"next in {blocks(due)}" if due > 0 else f"next since {blocks(-due)} due"
    return (
        f"ours of block {chain.last_update}, {blocks(chain.age_blocks)} old; {following}; block {chain.block}"
    )


def _doing(facts: Facts) -> Iterator[tuple[str, str]]:
    work = facts.work
    if work is None:
        yield "database", f"not read: {facts.database_error}"
        return
    waiting = f"; {counted(len(work.open_runs), 'run')} open" if work.open_runs else ""
    yield (
        "does",
        _task(facts, work) if facts.processes.is_running else f"nothing, because it does not run{waiting}",
    )
    newest = work.newest_run
    if newest is not None:
        yield (
            "newest run",
            (
                f"{newest.run_id}, {newest.state}: {newest.scored} of {newest.forecasts} scored,"
                f" {newest.rejected} rejected, {newest.excused} excused"
            ),
        )
    states = ", ".join(f"{count} {state}" for state, count in work.forecasts.items())
    yield "runs", f"{work.runs}, {len(work.open_runs)} open" + (f": {states}" if states else "")
    yield "references", f"{work.references.ready} ready, {work.references.awaited} awaited"
    for row in work.archives:
        again = "soon" if row.retry_at is None else _moment(row.retry_at)
        yield (
            "waits for",
            f"{row.source}, {counted(row.sets, 'set')}, next try {again}: {one_line(row.last_error)}",
        )
    coming = "; ".join(f"{_moment(due.at)} {due.what}" for due in work.due[:_MOST_DUE])
    yield "next", coming or "nothing is due"


def _task(facts: Facts, work: Work) -> str:
    return "stands by: it takes over once the lease ends" if facts.stands_by else _phase(work)


def _phase(work: Work) -> str:
    if not work.open_runs:
        return "nothing: no run is open"
    for state, words in _PHASES:
        if work.forecasts.get(state):
            return words
    return "completes its open runs"


def _processes(there: Processes) -> str:
    if not there.is_running:
        return "none: the validator does not run"
    parts = [_seats(role, there.living.get(role, 0), count, there) for role, count in there.expected.items()]
    return ", ".join(parts) + f"; {counted(there.restarts, 'restart')}"


def _seats(role: str, living: int, expected: int, there: Processes) -> str:
    if living >= expected:
        return f"{role} {living}"
    return f"{role} {living} of {expected}" + (" (starting)" if role in there.starting else "")


def _wrong(troubles: Sequence[Trouble], width: int | None) -> list[str]:
    if not troubles:
        return _line("wrong", "nothing", width)
    lines = []
    for trouble in troubles[:_MOST_TROUBLES]:
        lines += _line("wrong", f"{word_of(trouble.health)}: {one_line(trouble.problem)}", width)
        lines += _line("  do", trouble.remedy, width)
    if (left := len(troubles) - _MOST_TROUBLES) > 0:
        lines += _line("wrong", f"{left} more: gaia status --json", width)
    return lines


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%MZ}"
