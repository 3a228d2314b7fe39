"""Compares the miners' own records of questions with the commits of their answers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from golden_traces.questions import Subjects

    from campaigns.standby_faults.audit import Move

_INITIATE: Final = "initiate"
_POLL: Final = "poll"


@dataclass(slots=True)
class Asked:
    """What was asked, and what was asked twice."""

    questions: int = 0
    uncommitted: int = 0
    """Questions that were asked again after a takeover, because the first answer was not committed."""
    doubled: list[str] = field(default_factory=list)
    """A line for each other question that was asked again."""


def recorded(path: Path, subjects: Subjects) -> dict[tuple[str, str], list[float]]:
    """Return (run, question) -> when a miner answered, in Unix seconds; only of what is asked once an answer."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for text in path.read_text().splitlines() if path.exists() else ():
        line = json.loads(text)
        run, words, _ = subjects.run_and_words(line)
        if words in (_INITIATE, _POLL) and line["status"] == HTTPStatus.OK:
            found[run, words].append(line["answered_at"])
    return found


def count_doubled(
    asked: Asked,
    miner: str,
    answers: Mapping[tuple[str, str], Sequence[float]],
    commits: Mapping[str, Sequence[Move]],
    takes: Sequence[float],
) -> None:
    """Add the questions to one miner to `asked`.

    Parameters
    ----------
    answers
        (Run, question) -> when the miner answered, oldest first.
    commits
        Run -> changes of the miner's row, oldest first.
    takes
        When the lease was taken.
    """
    for (run, question), times in answers.items():
        asked.questions += len(times)
        moves = commits.get(run, ())
        ends = (move.at for move in moves if (move.is_asked if question == _INITIATE else move.is_frozen))
        end = next(ends, float("inf"))
        told = f"{miner}, {run}: {question}"
        asked.doubled += [
            f"{told} {at - end:.2f} s after the commit of its answer" for at in times if at > end
        ]
        for first, again in pairwise(at for at in times if at <= end):
            if any(first < move.at < again for move in moves):
                continue
            if any(first < at < again for at in takes):
                asked.uncommitted += 1
            else:
                asked.doubled.append(f"{told} twice in {again - first:.2f} s by one holder")
