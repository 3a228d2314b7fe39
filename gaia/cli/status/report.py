"""The object that `gaia status --json` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gaia.validator.core.status.facts import Chain, Disk, Due, Facts, Job, Processes
from gaia.validator.core.status.troubles import Health, Trouble, health_of
from gaia.validator.db.history import RunSummary
from gaia.validator.db.rows import (
    AwaitedRow,
    IncidentRow,
    ReferenceCounts,
    VectorInDoubt,
    VectorOnChain,
    VectorSummary,
)
from gaia.validator.utils.identities import RunId
from gaia.validator.utils.version import version


@dataclass(frozen=True, slots=True, kw_only=True)
class TroubleShown:
    """One thing that is wrong."""

    health: str
    name: str
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseShown:
    """The lease of the database, which one validator holds at a time."""

    holder: str
    """Machine and folder of the validator that took it last."""
    since: datetime
    """Time at which that one took it, by the database's clock."""
    is_held: bool
    """Whether it has not expired."""
    is_ours: bool
    """Whether this validator holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """Status of a validator; members that come from the database are null or empty if it cannot be read."""

    health: str
    """`well`, `degraded` or `stuck`."""
    exit_code: int
    """0, 1 or 2, as the command's own."""
    troubles: Sequence[TroubleShown]
    """What is wrong, the worst first."""
    version: str
    """Version of the program that printed this."""
    data_dir: str
    """The validator's data folder."""
    rule_set: str
    """Rules of the scores and weights."""
    machine_time: datetime
    """Time on this machine."""
    now: datetime
    """Time on the validator's clock."""
    is_simulated: bool
    """Whether that clock is simulated, as in a rehearsal."""
    is_dry_run: bool
    """Whether no weights are signed."""
    validator_runs: bool
    """Whether a Supervisor holds the data folder."""
    stands_by: bool
    """Whether this validator stands by while another one holds the lease; it then judges only itself."""
    lease: LeaseShown | None
    """The lease of the database; null if nobody has taken it yet or the database cannot be read."""
    processes: Processes
    """Living and expected processes, silence of heartbeats in seconds, restarts and deaths."""
    chain: Chain | None
    """The chain as the IO-Engine last read it."""
    database_error: str
    """Reason why the database could not be read."""
    runs: int | None
    """Number of runs."""
    open_runs: Sequence[RunId]
    """Ids of the open runs, oldest first."""
    newest_run: RunSummary | None
    """The newest run and the numbers of its forecasts."""
    forecasts_of_open_runs: Mapping[str, int]
    """State -> number of forecasts in open runs."""
    references: ReferenceCounts | None
    """Numbers of reference sets that are ready and awaited."""
    weights: VectorSummary | None
    """The newest vector that was journalled."""
    weights_set: VectorOnChain | None
    """The newest vector that is on chain."""
    weights_in_doubt: Sequence[VectorInDoubt]
    """Vectors whose outcome is unknown."""
    incidents: Sequence[IncidentRow]
    """Outside parties that fail now."""
    archives: Sequence[AwaitedRow]
    """Archives that lack sets."""
    due: Sequence[Due]
    """What happens next, earliest first."""
    jobs: Sequence[Job] | None
    """Recurring jobs; null if no metrics are served or they cannot be read."""
    metrics_error: str
    """Reason why the metrics could not be read."""
    disk: Disk | None
    """File system of the data folder, in bytes."""

    @classmethod
    def of(cls, facts: Facts, troubles: list[Trouble]) -> StatusReport:
        """Return the report of `facts` with what is wrong in them."""
        health = health_of(troubles)
        work = facts.work
        return cls(
            health=word_of(health),
            exit_code=int(health),
            troubles=[
                TroubleShown(
                    health=word_of(one.health), name=one.name, problem=one.problem, remedy=one.remedy
                )
                for one in troubles
            ],
            version=version(),
            data_dir=facts.data_dir,
            rule_set=facts.rule_set,
            machine_time=facts.machine_time,
            now=facts.now,
            is_simulated=facts.is_simulated,
            is_dry_run=facts.limits.is_dry_run,
            validator_runs=facts.processes.is_running,
            stands_by=facts.stands_by,
            lease=_lease(facts),
            processes=facts.processes,
            chain=facts.chain,
            database_error=facts.database_error,
            runs=work.runs if work else None,
            open_runs=work.open_runs if work else (),
            newest_run=work.newest_run if work else None,
            forecasts_of_open_runs=work.forecasts if work else {},
            references=work.references if work else None,
            weights=work.weights if work else None,
            weights_set=work.weights_set if work else None,
            weights_in_doubt=work.weights_in_doubt if work else (),
            incidents=work.incidents if work else (),
            archives=work.archives if work else (),
            due=work.due if work else (),
            jobs=facts.jobs,
            metrics_error=facts.metrics_error,
            disk=facts.disk,
        )


def _lease(facts: Facts) -> LeaseShown | None:
    lease = facts.lease
    if lease is None:
        return None
    return LeaseShown(
        holder=lease.name, since=lease.taken_at, is_held=lease.is_held, is_ours=facts.holds_lease
    )


def word_of(health: Health) -> str:
    """Return a health as a word.

    >>> word_of(Health.DEGRADED)
    'degraded'
    """
    return health.name.lower()
