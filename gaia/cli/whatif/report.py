"""The answer of `gaia what-if`, and how it is printed."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gaia.cli import tables
from gaia.cli.whatif.stages import MinerChange, percent, signed
from gaia.validator.core.weights.inputs import vector_of
from gaia.validator.core.weights.rules import WEIGHT_RULES

if TYPE_CHECKING:
    from gaia.cli.whatif.changes import Change
    from gaia.cli.whatif.rescoring import Rescored
    from gaia.cli.whatif.stages import Stage

_WIDTH: Final = 80
_LABEL: Final = 10
_NEEDED_FOR_ONE_TABLE: Final = 110
"""Cells of a line in which the reasons fit beside the weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The weights under a change, and what they follow from."""

    changes: Mapping[str, tuple[str, str]]
    """Variable -> its value before and after."""
    block: int
    """Block of the metagraph."""
    replayed: Sequence[str]
    """Runs of the window whose scores are those under the change."""
    not_replayed: Mapping[str, str]
    """Run -> why its scores are left as they were stored."""
    left_out: Mapping[str, str]
    """Run -> why it does not count under the change."""
    notes: Sequence[str]
    vector_sha256_now: str | None
    """Digest of the vector that would be set now; None: none would be."""
    vector_sha256_then: str
    changed: int
    """Number of hotkeys whose weight changes."""
    moved: float
    """Part of the whole weight that changes its receiver."""
    miners: Sequence[MinerChange]
    """The largest change first."""


def answer_of(
    change: Change,
    stages: Sequence[Stage],
    miners: Sequence[MinerChange],
    runs: Sequence[Rescored],
    left_out: Mapping[str, str],
    block: int,
) -> Answer:
    """Return the answer that the stages of a change give."""
    first, last = stages[0], stages[-1]
    return Answer(
        changes=change.described(),
        block=block,
        replayed=[run.run_id for run in runs if not run.problem],
        not_replayed={run.run_id: run.problem for run in runs if run.problem},
        left_out=left_out,
        notes=list(_notes(first, last, is_other_contract=bool(change.contract))),
        vector_sha256_now=None if first.by_uid is None else vector_of(first.by_uid)[1],
        vector_sha256_then=vector_of(last.by_uid or {})[1],
        changed=sum(row.now != row.then for row in miners),
        moved=math.fsum(row.change for row in miners if row.change > 0),
        miners=miners,
    )


def _notes(first: Stage, last: Stage, *, is_other_contract: bool) -> Iterator[str]:
    if first.by_uid is None:
        yield "no weights would be set now, so each weight now counts as 0"
    if WEIGHT_RULES[last.inputs.terms.rule].earning is None:
        return
    if is_other_contract and last.inputs.found.pairs:
        yield "overlaps are those of the stored fields and leads"
    known = {run_id for run_id, _, _ in last.inputs.found.products}
    unknown = last.inputs.runs.keys() - known
    if unknown:
        yield (
            f"overlaps are unknown in {len(unknown)} of {tables.counted(len(last.inputs.runs), 'run')},"
            " because Gram matrices are kept only while the active rules look for copies;"
            " shared work is paid in full there"
        )


def print_answer(answer: Answer, change: Change, *, as_json: bool) -> None:
    """Print the answer as one JSON object, or as lines and tables that fit 80 cells."""
    if as_json:
        tables.print_json(answer)
        return
    tables.print_lines(*_head(answer, change))
    width = tables.output_width()
    if width is None or width >= _NEEDED_FOR_ONE_TABLE:
        tables.print_table((*_COLUMNS, "~why"), [(*_cells(row), row.why) for row in answer.miners])
    else:
        tables.print_table(_COLUMNS, [_cells(row) for row in answer.miners])
        reasons = [(row.uid, row.why) for row in answer.miners if row.why]
        if reasons:
            tables.print_lines("")
            tables.print_table((">uid", "~why"), reasons)
    tables.print_lines(
        f"{answer.changed} of {tables.counted(len(answer.miners), 'weight')}"
        f" {'changes' if answer.changed == 1 else 'change'};"
        f" {percent(answer.moved)} % of the whole weight moves"
    )


_COLUMNS: Final = (">uid", "hotkey", ">now %", ">then %", ">change")


def _cells(row: MinerChange) -> tuple[int, str, str, str, str]:
    return row.uid, row.hotkey, percent(row.now), percent(row.then), signed(row.change)


def _head(answer: Answer, change: Change) -> Iterator[str]:
    for place, line in enumerate(change.lines()):
        yield from _labelled("" if place else "change", line)
    lost = len(answer.not_replayed)
    total = len(answer.replayed) + lost
    more = f", {lost} left as stored" if lost else ""
    more += f"; {len(answer.left_out)} more left out" if answer.left_out else ""
    yield from _labelled(
        "runs",
        f"{len(answer.replayed)} of {total} in the window replayed{more}; metagraph of block {answer.block}",
    )
    yield from _labelled("now", answer.vector_sha256_now or "none")
    yield from _labelled("then", answer.vector_sha256_then)
    for word, runs in (("as stored", answer.not_replayed), ("left out", answer.left_out)):
        for reason in dict.fromkeys(runs.values()):
            named = [run_id for run_id, why in runs.items() if why == reason]
            yield from _labelled(word, f"{tables.counted(len(named), 'run')}: {reason}: {', '.join(named)}")
    for note in answer.notes:
        yield from _labelled("note", note)


def _labelled(label: str, text: str) -> list[str]:
    """Return lines of at most 80 cells; a word that is longer is not cut."""
    return textwrap.wrap(
        tables.printable(text),
        _WIDTH,
        initial_indent=f"{label:<{_LABEL}}",
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )
