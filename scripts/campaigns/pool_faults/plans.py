"""The plan of a lane, drawn from a seed, and its results."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from random import Random

from campaigns.pool_faults import stops

SHARES = {"supervisor": 0.103, "fork_server": 0.11, "engine": 0.13, "standby": 0.02}
"""Kinds of kills besides those of workers; the standby is the next engine, which waits."""
STUMBLES_PER_KILL = 0.02
"""Short stops of the Supervisor or the engine, which must do no harm."""

_QUIET_END = 0.08
_FEWEST_QUIET = 8
"""Size of the last part of a lane, which spares the Supervisor so that its resources can be compared."""


def make_plan(kills: int, random: Random) -> tuple[deque[str], deque[str]]:
    """Return shuffled kills of each kind, mixed with "stop <kind>" and short stops; the seed decides all.

    Returns
    -------
    tuple[deque[str], deque[str]]
        The first part of the plan, and the last part, which spares the Supervisor.
    """
    counts = {kind: max(1, round(share * kills)) for kind, share in SHARES.items()}
    counts["worker"] = max(1, kills - sum(counts.values()))
    acts = [kind for kind, count in counts.items() for _ in range(count)]
    for kind, per_kill in stops.PER_KILL.items():
        acts += [f"stop {kind}"] * max(1, round(per_kill * kills))
    acts += ["stumble"] * round(STUMBLES_PER_KILL * kills)
    random.shuffle(acts)
    quiet_from = max(0, len(acts) - max(_FEWEST_QUIET, round(_QUIET_END * len(acts))))
    early = [act for act in acts[quiet_from:] if act == "supervisor"]
    late = [act for act in acts[quiet_from:] if act != "supervisor"]
    return deque([*acts[:quiet_from], *early]), deque(late)


@dataclass
class Tally:
    """Actions and results of a lane."""

    kills: Counter[str] = field(default_factory=Counter)
    stumbles: int = 0
    compared: int = 0
    """Number of processes whose resources were counted before and after."""
    left_behind: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    deadlocks: list[str] = field(default_factory=list)
