"""The family of processes as the Supervisor sees it: who lives, and what each role has used so far."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gaia.validator.app.logging_config import event
from gaia.validator.app.observation.probes import LIVE, LOOP_STUCK_AFTER_S, READY, STARTED, Check
from gaia.validator.app.supervision import Child, Role

SUPERVISOR, STANDBY, FORK_SERVER = "supervisor", "standby", "fork_server"
ROLES = (SUPERVISOR, *(str(role) for role in Role), STANDBY, FORK_SERVER)
"""Every role that a process of the validator can have."""

_log = logging.getLogger("application")
_PAGE = os.sysconf("SC_PAGESIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_USER_TIME, _SYSTEM_TIME = 11, 12
_ENDED = (b"Z", b"X")
"""States of a process that has ended: a zombie, and one that is being removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The processes at one moment."""

    children: Sequence[Child] = ()
    helpers: Mapping[str, int] = field(default_factory=dict)
    """Role -> pid of each process without a seat: Supervisor, standby, fork server."""
    wanted: Mapping[Role, int] = field(default_factory=dict)
    """Role -> wanted seats; empty: the validator stops."""
    restarts: Mapping[str, int] = field(default_factory=dict)
    """Role -> number of children that replaced a dead one."""
    has_started: bool = False
    """Whether the present IO-Engine is fully at work."""

    @property
    def engine(self) -> Child | None:
        """The IO-Engine that runs; None if there is none."""
        for child in self.children:
            if child.role is Role.ENGINE and child.is_ready and not child.is_killed:
                return child
        return None

    @property
    def is_engine_frozen(self) -> bool:
        """Whether the IO-Engine has been silent for so long that it may be unable to answer."""
        return self.engine is not None and self.engine.silent_s >= LOOP_STUCK_AFTER_S

    def pids(self) -> Iterator[tuple[str, int]]:
        """Yield role and pid of every process; the server's own processes count as its role."""
        yield from ((role, pid) for role, pid in self.helpers.items() if pid)
        for child in self.children:
            yield str(child.role), child.pid
            if child.role is Role.DATABASE:
                yield from ((str(child.role), pid) for pid in children_of(child.pid))

    def missing(self) -> list[str]:
        """Return what is not up yet, such as "postgres starts" or "io_engine is missing"."""
        words = []
        for role, seats in self.wanted.items():
            holders = [child for child in self.children if child.role is role]
            ready = sum(child.is_ready for child in holders)
            if ready < seats:
                words.append(f"{role} {'starts' if len(holders) >= seats else 'is missing'}")
        return words


class Accounts:
    """Memory and CPU time by role; the CPU time of a role never falls, although processes end."""

    def __init__(self) -> None:
        self.processes: Counter[str] = Counter()
        """Role -> living processes."""
        self.rss_bytes: Counter[str] = Counter()
        """Role -> resident memory of the living processes."""
        self._ended_s = dict.fromkeys(ROLES, 0.0)
        self._living_s: dict[tuple[str, int], float] = {}

    def look(self, family: Family) -> None:
        """Measure all living processes; what ended since is counted as it was at the look before."""
        try:
            found = [(role, pid, used) for role, pid in family.pids() if (used := _usage(pid)) is not None]
        except OSError as error:
            # Such as a lack of descriptors: the former figures stay, because nobody has ended.
            event(_log, "family_not_measured", logging.WARNING, error=str(error))
            return
        self.processes, self.rss_bytes = Counter(), Counter()
        living: dict[tuple[str, int], float] = {}
        for role, pid, (cpu_s, rss, is_living) in found:
            self.processes[role] += is_living
            self.rss_bytes[role] += rss
            living[role, pid] = cpu_s
        for (role, pid), cpu_s in self._living_s.items():
            # A smaller value belongs to another process, which got the pid of one that ended.
            if living.get((role, pid), -1.0) < cpu_s:
                self._ended_s[role] += cpu_s
        self._living_s = living

    def cpu_seconds(self) -> dict[str, float]:
        """Return role -> CPU seconds of all processes that it ever had, as of the last look."""
        totals = dict(self._ended_s)
        for (role, _), cpu_s in self._living_s.items():
            totals[role] += cpu_s
        return totals


def probes_without_engine(family: Family) -> dict[str, list[Check]]:
    """Return path -> checks, as long as no IO-Engine serves: nothing is ready, and a frozen IO-Engine does not live."""
    alive = Check(name="supervisor", is_well=True, reason="its loop turns")
    if family.engine is not None and family.is_engine_frozen:
        frozen = Check(
            name="io_engine",
            is_well=False,
            reason=f"the IO-Engine has been silent for {family.engine.silent_s:.0f} s",
            fix="wait for the Supervisor to replace it, and report its last log lines",
        )
        return {path: [alive, frozen] for path in (LIVE, READY, STARTED)}
    if not family.wanted:
        reason = "no IO-Engine serves, because the validator stops"
        fix = "wait for its end, then start it again if it is to run"
    else:
        reason = ", ".join(["no IO-Engine serves", *family.missing()])
        fix = "wait for its start; if it does not come, look for child_ended in the log"
    serving = Check(
        name="io_engine",
        is_well=False,
        reason=reason,
        fix=fix,
    )
    return {LIVE: [alive], READY: [alive, serving], STARTED: [alive, serving]}


def _usage(pid: int) -> tuple[float, int, bool] | None:
    """Return CPU seconds and resident bytes of a process, and whether it lives; None if nothing is left of it.

    One that has ended but is not reaped yet still tells its CPU seconds.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
        resident = Path(f"/proc/{pid}/statm").read_bytes().split()[1]
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = status.rpartition(b")")[2].split()
    ticks = int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])
    return ticks / _TICKS, int(resident) * _PAGE, fields[0] not in _ENDED


def children_of(pid: int) -> list[int]:
    """Return the children of a process whose main thread starts them; empty if it has ended."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
