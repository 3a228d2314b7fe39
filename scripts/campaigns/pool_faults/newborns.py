"""Workers that are still starting: killing many in a row would be a crash loop, which the Supervisor must end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gaia.validator.utils.identities import WorkerId

_MOST = 6
"""Half of the deaths in a row at which the Supervisor halts."""


class Newborns:
    """Counts how often in a row each seat lost a worker that had not reached an engine.

    The Supervisor calls a worker ready once it has reached an engine, and a kill of a ready worker ends the row
    of its seat. Age says nothing of this: while there is no engine, an old worker is not ready either.
    """

    def __init__(self) -> None:
        self._in_a_row: Counter[str] = Counter()
        self._ready: set[int] = set()

    def note_ready(self, pids: Collection[int]) -> None:
        """Note the workers that have reached the present engine."""
        self._ready.update(pids)

    def spares(self, name: str, pid: int) -> bool:
        """Return whether the worker `name` must be left to start."""
        return pid not in self._ready and self._in_a_row[_seat(name)] >= _MOST

    def note_end(self, workers: Mapping[WorkerId, int], pid: int, *, at_once: bool) -> None:
        """Note that the worker `pid` was killed or, if not `at_once`, is stopped until a deadline ends it."""
        for name in (name for name, worker in workers.items() if worker == pid):
            if pid not in self._ready:
                self._in_a_row[_seat(name)] += 1
            elif at_once:
                self._in_a_row[_seat(name)] = 0

    def note_lost_fork_server(self, names: Collection[str]) -> None:
        """Note that the fork server ends with its workers, ready or not, or that it starts none for a time."""
        self._in_a_row.update(map(_seat, names))


def _seat(name: str) -> str:
    return name.partition(".")[0]
