"""Processes that are stopped for good: each must be ended, or woken, when a deadline has passed."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from campaigns.pool_faults import victims
from gaia.validator.app.children.spawning import is_stopped

if TYPE_CHECKING:
    from gaia.validator.app.meeting.rendezvous import Board

KINDS = ("worker", "engine", "fork_server")
PER_KILL = {"worker": 0.052, "engine": 0.016, "fork_server": 0.013}
"""Stops of each kind by kills of all kinds."""
PATIENCE = float(os.environ.get("POOL_CHAOS_PATIENCE", "1"))
"""How many times longer than on a free machine everything may take."""
LIMIT_S = 45.0 * PATIENCE
"""Poison units have 15 seconds, and a worker that is stopped holds one now and then."""


class Frozen(NamedTuple):
    """A process that was stopped."""

    kind: str
    pid: int
    at: float
    upheavals: int


class Stops:
    """Who is stopped, and what became of those that were.

    Parameters
    ----------
    workers
        Workers of the pool; one is always spared.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._frozen: list[Frozen] = []
        self.upheavals = 0
        """Deaths of Supervisors and fork servers, which take stopped workers along."""
        self.outlasted: Counter[str] = Counter()
        """Stops that a deadline ended, by kind."""
        self.stuck: list[str] = []
        """Those that nothing ended."""

    def __bool__(self) -> bool:
        return bool(self._frozen)

    @property
    def pids(self) -> set[int]:
        """Who is stopped now."""
        return {frozen.pid for frozen in self._frozen}

    def add(self, kind: str, pid: int) -> None:
        """Note that `pid` was stopped just now."""
        self._frozen.append(Frozen(kind, pid, time.monotonic(), self.upheavals))

    def allowed_acts(self) -> set[str]:
        """Return what may be done while they are stopped, without ending one before its deadline."""
        frozen = Counter(frozen.kind for frozen in self._frozen)
        acts = {"worker", "standby"}
        if not frozen["engine"]:
            acts |= {"engine", "stop engine"}
        if not frozen["fork_server"]:
            acts.add("stop fork_server")
        if frozen["worker"] < self._workers - 1:
            acts.add("stop worker")
        return acts

    def settle(self, board: Board) -> Iterator[str]:
        """Look at each; yield the kind of those that ended before any deadline, for they are to be tried again."""
        still: list[Frozen] = []
        # The fork server first: its death is no deadline of its workers.
        for frozen in sorted(self._frozen, key=lambda one: KINDS.index(one.kind), reverse=True):
            outcome = self._outcome(frozen, board)
            if outcome is None:
                if time.monotonic() - frozen.at <= LIMIT_S:
                    still.append(frozen)
                    continue
                self.stuck.append(f"stopped {frozen.kind} {frozen.pid} stayed so for {LIMIT_S} s")
                _end(frozen.pid)
            elif outcome:
                self.outlasted[frozen.kind] += 1
            else:
                yield frozen.kind
        self._frozen = still

    def _outcome(self, frozen: Frozen, board: Board) -> bool | None:
        """True: a deadline ended it; False: something else did; None: it is still stopped."""
        is_dead = victims.is_dead(frozen.pid)
        if frozen.kind == "fork_server":
            if not is_dead and is_stopped(frozen.pid):
                return None
            is_undisturbed = frozen.upheavals == self.upheavals
            self.upheavals += is_dead
            return is_undisturbed
        if not is_dead:
            return None
        if frozen.kind == "worker":
            return frozen.upheavals == self.upheavals
        if board.processes.get("io_engine") == frozen.pid:
            return None  # its death is not on the board yet
        return any((report.pid, report.cause) == (frozen.pid, "silent") for report in board.deaths)


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
