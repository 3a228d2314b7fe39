"""Decides what follows a failed step: retry, wait, reject, excuse or halt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gaia.validator.utils.errors import (
    ConfigurationError,
    MinerFault,
    MinerUnreachable,
    MissedByUs,
    NotYetAvailable,
    OwnFailure,
    QuarantinedError,
)


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again at `at`; one attempt is spent."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Snooze:
    """Look again at `until`; no attempt is spent."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Wait:
    """Something of ours failed: no attempt is spent, and no due moment changes."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reject:
    """The miner is at fault: its forecast is rejected."""

    reason: str


@dataclass(frozen=True, slots=True)
class Forfeit:
    """The miner was unreachable for one part of its forecast: this part gets the worst score."""

    reason: str


@dataclass(frozen=True, slots=True)
class Excuse:
    """The fault is ours: the forecast is not counted, and the operator should examine why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Only the operator can correct this."""

    reason: str


Verdict = Retry | Snooze | Wait | Reject | Forfeit | Excuse | Halt


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays before the further attempts; after the last, the verdict is final."""

    delays: Sequence[timedelta]

    def delay_after(self, attempt: int) -> timedelta | None:
        """Return the delay after `attempt` (from 1); None if no attempt is left."""
        return self.delays[attempt - 1] if attempt <= len(self.delays) else None


def judge(
    error: Exception, attempt: int, policy: RetryPolicy, now: datetime, *, may_forfeit: bool = False
) -> Verdict:
    """Return what follows a step whose `attempt` (from 1) ended in `error`.

    A miner is at fault if its bytes killed every worker that read them, or if it answered
    none of the attempts. Failures of our database, signer, pool and disk cost no attempt.
    Any other error that persists is ours.

    With `may_forfeit`, a miner that never answers loses one part of its forecast, not all.
    """
    match error:
        case NotYetAvailable():
            return Snooze(error.retry_at)
        case MinerFault() | QuarantinedError():
            return Reject(str(error))
        case MissedByUs():
            return Excuse(str(error))
        case OwnFailure():
            return Wait(str(error))
        case ConfigurationError():
            return Halt(str(error))
    delay = policy.delay_after(attempt)
    if delay is not None:
        return Retry(now + delay)
    if isinstance(error, MinerUnreachable):
        reason = f"unreachable in {attempt} attempts: {error}"
        return Forfeit(reason) if may_forfeit else Reject(reason)
    return Excuse(f"{type(error).__name__} on attempt {attempt}: {error}")
