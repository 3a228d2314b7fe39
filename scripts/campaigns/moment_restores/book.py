"""Reads what a chain wrote down of the validator, and judges it against journal and log."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from campaigns.chain_faults.judging import Vector, stored_vector
from gaia.validator.core.weights.doubts import as_stored

if TYPE_CHECKING:
    import asyncpg

ENGINE_IS_UP: Final = b'"event": "engine_started"'
_RESOLVED: Final = b'"event": "weights_doubt_resolved"'
_JOURNAL: Final = "SELECT epoch, state, block, vector FROM weight_journal ORDER BY epoch"
_STANDING: Final = "set"


@dataclass(frozen=True, slots=True)
class Signed:
    """One signature that reached the chain's pool."""

    at: float
    epoch: int
    vector: Vector


@dataclass(frozen=True, slots=True)
class Landed:
    """Weights that the chain took."""

    at: float
    block: int
    epoch: int
    weights: dict[int, int]


@dataclass(frozen=True, slots=True)
class Restart:
    """A start of the validator after a restore."""

    at: float
    newest_epoch: int
    """Newest epoch of which the restored journal may know; -1: of none."""


@dataclass
class Book:
    """All signatures and landings of a life, oldest first."""

    signed: list[Signed] = field(default_factory=list)
    landed: list[Landed] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Book:
        """Return what is written by now."""
        book = cls()
        for line in path.read_text().splitlines():
            book._take(json.loads(line))
        return book

    def _take(self, line: dict[str, Any]) -> None:
        if line["what"] == "signed":
            self.signed.append(Signed(line["at"], line["epoch"], stored_vector(line["vector"])))
        else:
            # What lands was signed in the same epoch, because its era ends with it.
            epoch = self.signed[-1].epoch if self.signed else -1
            weights = {int(uid): int(weight) for uid, weight in line["vector"]}
            self.landed.append(Landed(line["at"], line["block"], epoch, weights))

    def epochs_between(self, begun: float, ended: float) -> int:
        """Return the number of vectors that landed between two real times."""
        return sum(begun < each.at <= ended for each in self.landed)


def doubled(book: Book, restarts: Sequence[Restart]) -> Iterator[str]:
    """Yield a line for each epoch with two vectors, and each signature in an epoch that had landed before a restart."""
    vectors: dict[int, set[Vector]] = defaultdict(set)
    for each in book.signed:
        vectors[each.epoch].add(each.vector)
    for epoch, found in vectors.items():
        if len(found) > 1:
            yield f"epoch {epoch} has {len(found)} vectors"
    for restart in restarts:
        had = {each.epoch for each in book.landed if each.at <= restart.at}
        again = [each.epoch for each in book.signed if each.at > restart.at and each.epoch in had]
        for epoch in again:
            yield f"epoch {epoch} had its vector, and was signed again after a restore"


def settled(log: Path, restarts: Sequence[Restart]) -> Iterator[tuple[Restart, float, int]]:
    """Yield (restart, real time, epoch) of each vector that was in doubt in a restored journal, and was settled."""
    resolved = list(_events(log, _RESOLVED))
    for restart, until in _lives(restarts, math.inf):
        for line in resolved:
            if restart.at < _time_of(line) < until and line["epoch"] <= restart.newest_epoch:
                yield restart, _time_of(line), line["epoch"]


def unreconciled(book: Book, restarts: Sequence[Restart], log: Path) -> Iterator[str]:
    """Yield a line for each vector in doubt of a restored journal that was settled after a first signature."""
    for restart, at, epoch in settled(log, restarts):
        first = next((each for each in book.signed if each.at > restart.at), None)
        if first is not None and first.at < at:
            yield f"epoch {epoch} was settled after epoch {first.epoch} was signed"


def silent(
    book: Book, restarts: Sequence[Restart], log: Path, ended: float, patience_s: float
) -> Iterator[str]:
    """Yield a line for each restart after which nothing landed for long, although something had before.

    Parameters
    ----------
    patience_s
        Longest time from the start of the engine until weights land.
    """
    starts = [_time_of(line) for line in _events(log, ENGINE_IS_UP)]
    for restart, until in _lives(restarts, ended):
        up = next((at for at in starts if at > restart.at), ended)
        first = next((each.at for each in book.landed if each.at > restart.at), until)
        if any(each.at <= restart.at for each in book.landed) and min(first, until) - up > patience_s:
            yield f"no vector landed for {min(first, until) - up:.0f} s after a restore"


def _lives(restarts: Sequence[Restart], ended: float) -> Iterator[tuple[Restart, float]]:
    """Yield each restart, and when the next one was."""
    return zip(restarts, [*(restart.at for restart in restarts[1:]), ended], strict=True)


def _events(log: Path, words: bytes) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log with these words."""
    return (json.loads(line) for line in log.read_bytes().splitlines() if words in line)


def _time_of(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


async def disagreement(connection: asyncpg.Connection[asyncpg.Record], book: Book) -> str:
    """Return how the journal contradicts the chain; "" if they agree."""
    rows = await connection.fetch(_JOURNAL)
    taken = {each.block: each.weights for each in book.landed}
    standing = [row for row in rows if row["state"] == _STANDING]
    for row in standing:
        if taken.get(row["block"]) != as_stored(list(zip(*stored_vector(row["vector"]), strict=True))):
            return f"epoch {row['epoch']} is set in block {row['block']}, and the chain took something else"
    newest = max(taken, default=0)
    if not standing or standing[-1]["block"] != newest:
        return f"the journal does not know the weights of block {newest}"
    epochs = {each.epoch for each in book.landed}
    lost = [row["epoch"] for row in rows if row["state"] == "lost" and row["epoch"] in epochs]
    return f"epochs {lost} are called lost, and landed" if lost else ""
