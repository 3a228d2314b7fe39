"""Judges the facts about a validator: what is wrong, how bad it is, and what the operator does about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final

from gaia.validator.utils.chain.metagraph import BLOCK_S

if TYPE_CHECKING:
    from gaia.validator.core.status.facts import Chain, Facts, Processes, Work

STALE_BLOCKS: Final = 1080
"""Blocks by which weights may be late; 3.6 hours, of the 16.7 after which the chain ignores a validator."""
_SLACK_BLOCKS = 50
_RECENT: Final = timedelta(minutes=5)
_LATELY: Final = timedelta(hours=1)
_MANY_DEATHS: Final = 5
_IN_FLIGHT: Final = timedelta(minutes=10)
"""Time that one submission of weights may take; a younger doubt is a submission in progress."""
_NOTICED_S = 10.0
"""Silence of an IO-Engine that is worth a word, long before the Supervisor replaces it."""
_LONGEST_RUN: Final = timedelta(days=18)
_LONGEST_PAUSE: Final = timedelta(hours=26)
_LATE_TRUTH: Final = timedelta(hours=24)
MANY_FILES: Final = 0.8
"""Share of a process's descriptors above which it has too many open."""
_LOW_DISK, _NEARLY_FULL = 0.2, 0.1
_TAKEOVER_S: Final = 60.0
"""Seconds after its end in which somebody takes a lease, also after a start on a slow machine."""
_WORKER: Final = "compute_worker"
_ALONE = {"chain_signer", "io_engine", "postgres"}
"""Roles without which nothing works."""

_STOPPED: Final = {
    "chain_signer": "ValidatorSubstrateConnectionLost",
    "io_engine": "ValidatorCriticalEventLoopLag",
    "postgres": "ValidatorDatabaseFailures",
}
"""Role -> alert about what a stopped process of it no longer does."""


class Health(IntEnum):
    """Health of a validator; the number is the exit code of `gaia status`."""

    WELL = 0
    DEGRADED = 1
    """It works, but something needs attention."""
    STUCK = 2
    """It does not run, or earns nothing."""


class Part(StrEnum):
    """Part of the validator that a trouble is about."""

    PROCESSES = "processes"
    DATABASE = "database"
    CHAIN = "chain"
    WEIGHTS = "weights"
    RUNS = "runs"
    JOBS = "jobs"
    DISK = "disk"


_OF_THE_ACTIVE: Final = frozenset({Part.CHAIN, Part.WEIGHTS, Part.RUNS})
"""Parts of which a standby has no facts of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that is wrong."""

    health: Health
    name: str
    """Name of the alert about it, which is also that of its runbook."""
    problem: str
    """The problem in words, without a final full stop."""
    remedy: str
    """The command or the page that helps."""
    subject: str = ""
    """Role, process, job, source or party that tells apart troubles of one name."""
    part: Part = Part.PROCESSES

    @property
    def key(self) -> str:
        """What tells this trouble apart from all others, while its words and its health change."""
        return f"{self.part}/{self.name}/{self.subject}"


def troubles_of(facts: Facts) -> list[Trouble]:
    """Return everything that is wrong, the worst first; an empty list means that all is well.

    A standby leaves chain, weights and runs to the validator that holds the lease.
    """
    left = _OF_THE_ACTIVE if facts.stands_by else frozenset()
    checks = [(part, check) for part, check in _CHECKS.items() if part not in left]
    found = [replace(trouble, part=part) for part, check in checks for trouble in check(facts)]
    return sorted(found, key=lambda trouble: -trouble.health)


def unknown_parts(facts: Facts) -> frozenset[Part]:
    """Return the parts of which these facts tell too little to say that they are well."""
    there = facts.processes
    if not there.is_running or not there.is_published:
        return frozenset(Part) - {Part.PROCESSES, Part.DISK}
    lacking = (
        (facts.stands_by, _OF_THE_ACTIVE),
        (facts.work is None, (Part.CHAIN, Part.WEIGHTS, Part.RUNS)),
        (facts.chain is None, (Part.CHAIN,)),
        (facts.jobs is None, (Part.JOBS,)),
        (facts.disk is None, (Part.DISK,)),
    )
    return frozenset(part for is_lacking, parts in lacking if is_lacking for part in parts)


def health_of(troubles: list[Trouble]) -> Health:
    """Return the health of a validator with these troubles."""
    return max((trouble.health for trouble in troubles), default=Health.WELL)


def ago(seconds: float) -> str:
    """Return a length of time in words, in the unit that suits it.

    >>> ago(4.2), ago(300), ago(7300), ago(200_000)
    ('4 s', '5 min', '2.0 h', '2.3 days')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def _trouble(health: Health, name: str, problem: str, remedy: str = "", subject: str = "") -> Trouble:
    return Trouble(
        health=health, name=name, problem=problem, remedy=remedy or f"gaia runbook {name}", subject=subject
    )


def _of_processes(facts: Facts) -> Iterator[Trouble]:
    there = facts.processes
    if not there.is_running:
        yield _trouble(Health.STUCK, "ValidatorProcessDown", "the validator does not run")
        return
    if not there.is_published:
        problem = "the data folder is in use, but no process is published: the validator starts, or another command reads the folder"
        yield _trouble(Health.STUCK, "ValidatorProcessDown", problem)
        return
    if there.halt:
        problem = f"the validator ends: {there.halt.rstrip('.')}"
        yield _trouble(Health.STUCK, "ValidatorProcessDown", problem, subject="halt")
    for role, expected in there.expected.items():
        living = there.living.get(role, 0)
        if living >= expected or role in there.starting:
            continue
        health = Health.STUCK if role in _ALONE or not living else Health.DEGRADED
        name = "ValidatorProcessDown" if role in _ALONE else "ValidatorPoolSeatsMissing"
        yield _trouble(health, name, f"{living} of {expected} processes of {role} live", subject=role)
    for pid, role in there.stopped.items():
        health = Health.STUCK if role in _ALONE else Health.DEGRADED
        name = _STOPPED.get(role, "ValidatorPoolSeatsMissing")
        yield _trouble(health, name, f"{role} (pid {pid}) is stopped by a signal", subject=f"{role} {pid}")
    yield from _of_seats(facts, there)
    yield from _of_heartbeats(facts, there)
    yield from _of_short_silence(facts, there)
    yield from _of_deaths(there, facts.machine_time)
    yield from _of_files(there)


def _of_seats(facts: Facts, there: Processes) -> Iterator[Trouble]:
    """Yield a trouble if workers live that do not answer; that one is missing or stopped is said already."""
    seats = facts.seats
    if seats is None or seats.healthy >= seats.wanted:
        return
    is_missing = there.living.get(_WORKER, 0) < there.expected.get(_WORKER, 0)
    if not is_missing and _WORKER not in there.stopped.values():
        problem = f"{seats.healthy} of {seats.wanted} compute seats are healthy"
        yield _trouble(Health.DEGRADED, "ValidatorPoolSeatsMissing", problem, subject="seats")


def _of_heartbeats(facts: Facts, there: Processes) -> Iterator[Trouble]:
    limits = {"io_engine": facts.limits.engine_silence_s, "chain_signer": facts.limits.signer_silence_s}
    for role, silent_s in there.silent_s.items():
        if silent_s > limits[role] and role not in there.stopped.values():
            problem = f"{role} has been silent for {ago(silent_s)}"
            yield _trouble(Health.STUCK, "ValidatorCriticalEventLoopLag", problem, subject=role)


def _of_short_silence(facts: Facts, there: Processes) -> Iterator[Trouble]:
    silent_s = there.silent_s.get("io_engine", 0.0)
    is_explained = "io_engine" in there.stopped.values()
    if _NOTICED_S < silent_s <= facts.limits.engine_silence_s and not is_explained:
        problem = f"io_engine has been silent for {ago(silent_s)}"
        yield _trouble(Health.DEGRADED, "ValidatorCriticalEventLoopLag", problem)


def _of_deaths(there: Processes, now: datetime) -> Iterator[Trouble]:
    lately = [death for death in there.deaths if now - death.at < _LATELY]
    recent = [death for death in lately if now - death.at < _RECENT]
    if len(lately) > _MANY_DEATHS:
        problem = f"{len(lately)} processes died in the last hour; the last: {lately[-1].cause}"
        yield _trouble(Health.DEGRADED, "ValidatorProcessHighRestarts", problem)
    elif recent:
        problem = f"a process died {ago((now - recent[-1].at).total_seconds())} ago: {recent[-1].cause}"
        yield _trouble(Health.DEGRADED, "ValidatorProcessRestarting", problem)


def _of_files(there: Processes) -> Iterator[Trouble]:
    short = [each for each in there.files if each.used > MANY_FILES * each.limit]
    if short:
        problem = f"{short[0].role} has {short[0].used} files open, and {short[0].limit} are allowed"
        yield _trouble(Health.DEGRADED, "ValidatorOpenFilesHigh", problem)


def _of_database(facts: Facts) -> Iterator[Trouble]:
    is_explained = "postgres" in facts.processes.stopped.values()
    if facts.work is None and facts.processes.is_running and not is_explained:
        problem = f"the database cannot be read: {facts.database_error}"
        yield _trouble(Health.STUCK, "ValidatorDatabaseFailures", problem)
    lease = facts.lease
    if facts.processes.is_running and lease is not None and lease.seconds_left < -_TAKEOVER_S:
        problem = f"nobody has held the lease of the database for {ago(-lease.seconds_left)}"
        yield _trouble(Health.STUCK, "ValidatorNoLeaseHolder", problem)


def _of_chain(facts: Facts) -> Iterator[Trouble]:
    if not facts.processes.is_running or not facts.processes.is_published:
        return
    chain = facts.chain
    if chain is None:
        yield _trouble(
            Health.STUCK, "ValidatorSubstrateConnectionLost", "the chain has not been read since the start"
        )
        return
    age_s = (facts.machine_time - chain.read_at).total_seconds()
    if age_s > facts.limits.metagraph_s:
        problem = f"the chain was last read {ago(age_s)} ago"
        yield _trouble(Health.DEGRADED, "ValidatorSubstrateConnectionLost", problem)
    if chain.uid is None:
        problem = f"hotkey {chain.hotkey} is not registered on subnet {chain.netuid}"
        remedy = f"btcli subnets register --netuid {chain.netuid}"
        yield _trouble(Health.STUCK, "ValidatorNotRegistered", problem, remedy)
    elif not chain.has_permit:
        problem = f"uid {chain.uid} has no validator permit, so it cannot set weights"
        # A dry run sets none.
        health = Health.DEGRADED if facts.limits.is_dry_run else Health.STUCK
        yield _trouble(health, "ValidatorNoPermit", problem, "stake more on this hotkey, then wait a tempo")
    elif facts.work is not None and facts.work.has_scores and not facts.limits.is_dry_run:
        yield from _of_weights_age(facts, chain)


def _of_weights_age(facts: Facts, chain: Chain) -> Iterator[Trouble]:
    """Yield a trouble if weights are late although there are scores for them."""
    age = chain.age_blocks
    if age is None:
        newest = facts.work.weights if facts.work is not None else None
        if newest is not None:
            problem = "weights were computed, but none of ours was ever on chain"
            yield _trouble(Health.DEGRADED, "ValidatorWeightsStale", problem)
        return
    late = -chain.due_blocks
    if late > _SLACK_BLOCKS:
        health = Health.STUCK if late > STALE_BLOCKS else Health.DEGRADED
        time = "" if facts.is_simulated else f" ({ago(late * BLOCK_S)})"
        yield _trouble(health, "ValidatorWeightsStale", f"our weights are {late} blocks{time} late")


def _of_weights(facts: Facts) -> Iterator[Trouble]:
    work = facts.work
    if work is None:
        return
    doubts = [
        doubt for doubt in work.weights_in_doubt if facts.now - doubt.intended_at > _IN_FLIGHT or doubt.error
    ]
    if doubts:
        epochs = ", ".join(str(doubt.epoch) for doubt in doubts[-5:])
        problem = f"the outcome of {len(doubts)} weight vectors is unknown: epoch {epochs}"
        yield _trouble(Health.DEGRADED, "ValidatorVectorInDoubt", problem)
    for row in work.incidents:
        name = _INCIDENTS.get(row.party, "ValidatorHighErrorRate")
        verb = _VERBS.get(row.party, "fails")
        problem = f"{row.party} {verb} since {row.began_at:%Y-%m-%d %H:%MZ}: {row.evidence}"
        yield _trouble(Health.DEGRADED, name, problem, subject=row.party)


_VERBS = {"consensus": "differs from our weights", "gates": "hold the weights"}
_INCIDENTS = {
    "chain": "ValidatorSubstrateConnectionLost",
    "consensus": "ValidatorTrustFalls",
    "gates": "ValidatorWeightsHeld",
    "weights": "ValidatorWeightsStale",
    "reveals": "ValidatorWeightsStale",
}


def _of_runs(facts: Facts) -> Iterator[Trouble]:
    work = facts.work
    if work is None:
        return
    if work.oldest_open_at is not None and facts.now - work.oldest_open_at > _LONGEST_RUN:
        age = ago((facts.now - work.oldest_open_at).total_seconds())
        yield _trouble(
            Health.DEGRADED,
            "ValidatorStuckWeatherRuns",
            f"run {work.open_runs[0]} has been open for {age}",
        )
    yield from _of_pauses(facts, work)
    # A run that has just opened says nothing about miners yet.
    judged = work.newest_frozen
    if judged is not None and judged.rejected == judged.forecasts:
        problem = f"all {judged.forecasts} forecasts of run {judged.run_id} were rejected"
        yield _trouble(Health.DEGRADED, "ValidatorVerificationFailures", problem)
    for row in work.archives:
        waited = facts.now - row.missed_since if row.missed_since is not None else timedelta()
        if row.failures or waited > _LATE_TRUTH:
            since = f" since {row.missed_since:%Y-%m-%d %H:%MZ}" if row.missed_since else ""
            problem = f"{row.source} lacks {row.sets} sets{since}: {row.last_error}"
            yield _trouble(Health.DEGRADED, "ValidatorTruthLate", problem, subject=row.source)


def _of_pauses(facts: Facts, work: Work) -> Iterator[Trouble]:
    newest = work.newest_run
    if newest is None or not facts.limits.opens_runs or not facts.processes.is_running:
        return
    pause = facts.now - newest.opened_at
    if pause > _LONGEST_PAUSE:
        problem = f"no run has opened for {ago(pause.total_seconds())}"
        yield _trouble(Health.DEGRADED, "ValidatorNoRunOpened", problem)


def _of_jobs(facts: Facts) -> Iterator[Trouble]:
    if facts.metrics_error and facts.processes.is_running:
        problem = f"the metrics cannot be read: {facts.metrics_error}"
        yield _trouble(Health.DEGRADED, "ValidatorMetricsAbsent", problem)
    for job in facts.jobs or ():
        if job.is_overdue:
            since = f", last done {job.last_success_at:%Y-%m-%d %H:%MZ}" if job.last_success_at else ""
            problem = f"job {job.name} is overdue{since}"
            yield _trouble(Health.DEGRADED, "ValidatorTaskOverdue", problem, subject=job.name)


def _of_disk(facts: Facts) -> Iterator[Trouble]:
    disk = facts.disk
    if disk is None or not disk.size:
        return
    part = disk.free / disk.size
    problem = f"the disk of {facts.data_dir} has {disk.free / 2**30:.1f} GiB free ({part:.0%})"
    if disk.free < disk.required:
        yield _trouble(Health.STUCK, "ValidatorDiskSpaceCritical", problem)
    elif part < _NEARLY_FULL:
        yield _trouble(Health.DEGRADED, "ValidatorDiskSpaceCritical", problem)
    elif part < _LOW_DISK:
        yield _trouble(Health.DEGRADED, "ValidatorDiskSpaceLow", problem)


_CHECKS: Final[Mapping[Part, Callable[[Facts], Iterator[Trouble]]]] = {
    Part.PROCESSES: _of_processes,
    Part.DATABASE: _of_database,
    Part.CHAIN: _of_chain,
    Part.WEIGHTS: _of_weights,
    Part.RUNS: _of_runs,
    Part.JOBS: _of_jobs,
    Part.DISK: _of_disk,
}
