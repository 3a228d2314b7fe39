"""What to do with a step that failed: try again, wait, reject, excuse or halt."""

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
    """Try again at `at`; an attempt is spent."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Snooze:
    """Look again at `until`; no attempt is spent."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Wait:
    """Something of ours failed: no attempt is spent and no date is moved."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reject:
    """The miner's fault: its forecast scores zero."""

    reason: str


@dataclass(frozen=True, slots=True)
class Forfeit:
    """The miner was silent in a step of which it can lose a part: that part scores the worst."""

    reason: str


@dataclass(frozen=True, slots=True)
class Excuse:
    """Ours: the forecast is not counted, and an operator should look."""

    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """Only the operator can mend this."""

    reason: str


Verdict = Retry | Snooze | Wait | Reject | Forfeit | Excuse | Halt


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delay before each further attempt; when they are used up, the verdict is final."""

    delays: Sequence[timedelta]

    def delay_after(self, attempt: int) -> timedelta | None:
        """Delay after `attempt` (from 1), or None when no attempt is left."""
        return self.delays[attempt - 1] if attempt <= len(self.delays) else None


def judge(
    error: Exception, attempt: int, policy: RetryPolicy, now: datetime, *, may_forfeit: bool = False
) -> Verdict:
    """Say what to do with a step whose `attempt` (from 1) ended in `error`.

    A forecast whose bytes killed every worker that read them is the miner's
    doing; a miner that stays silent through all attempts, too. Our database,
    signer, pool and disk cost no attempt. Whatever else goes on failing is ours.

    `may_forfeit`: a miner that stays silent loses a part of its forecast, not all of it.
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
