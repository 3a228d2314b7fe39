"""Each error has one right answer."""

from datetime import UTC, datetime, timedelta

import pytest

from gaia.tasks.defined_tasks.verdicts import (
    Excuse,
    Forfeit,
    Halt,
    Reject,
    Retry,
    RetryPolicy,
    Snooze,
    Wait,
    judge,
)
from gaia.validator.utils.errors import (
    ConfigurationError,
    DeadlineExceeded,
    MinerFault,
    MinerUnreachable,
    MissedByUs,
    NotYetAvailable,
    OwnFailure,
    QuarantinedError,
    TransientError,
)

NOW = datetime(2026, 3, 25, 18, tzinfo=UTC)
POLICY = RetryPolicy([timedelta(minutes=1), timedelta(minutes=5)])


def test_what_is_not_published_yet_is_waited_for() -> None:
    later = NOW + timedelta(hours=3)

    assert judge(NotYetAvailable("ERA5", later), 9, POLICY, NOW) == Snooze(later)


@pytest.mark.parametrize("error", [MinerFault("swapped bytes"), QuarantinedError("killed 3 workers")])
def test_miner_that_broke_its_word_is_rejected_at_once(error: MinerFault | QuarantinedError) -> None:
    assert judge(error, 1, POLICY, NOW) == Reject(str(error))


def test_operator_is_needed_for_a_wrong_setting() -> None:
    assert isinstance(judge(ConfigurationError("GAIA_CDS_KEY", "empty", "set it"), 1, POLICY, NOW), Halt)


@pytest.mark.parametrize("error", [MinerUnreachable("refused"), TransientError("503")])
def test_what_time_may_heal_is_tried_again_after_the_delay_of_its_attempt(
    error: MinerUnreachable | TransientError,
) -> None:
    assert judge(error, 1, POLICY, NOW) == Retry(NOW + timedelta(minutes=1))
    assert judge(error, 2, POLICY, NOW) == Retry(NOW + timedelta(minutes=5))


@pytest.mark.parametrize("error", [OwnFailure("database"), DeadlineExceeded("slow")])
@pytest.mark.parametrize("attempt", [1, 3, 99])
def test_failure_of_ours_spends_no_attempt_however_often(
    error: DeadlineExceeded | OwnFailure, attempt: int
) -> None:
    assert judge(error, attempt, POLICY, NOW) == Wait(str(error))


def test_miner_that_we_did_not_ask_in_time_is_excused() -> None:
    assert judge(MissedByUs("not asked"), 1, POLICY, NOW) == Excuse("not asked")


def test_silent_miner_is_rejected_when_the_attempts_are_used_up() -> None:
    assert judge(MinerUnreachable("refused"), 3, POLICY, NOW) == Reject("unreachable in 3 attempts: refused")


def test_silent_miner_forfeits_no_more_than_the_step_where_a_part_can_be_lost() -> None:
    judged = judge(MinerUnreachable("refused"), 3, POLICY, NOW, may_forfeit=True)

    assert judged == Forfeit("unreachable in 3 attempts: refused")
    assert judge(MinerUnreachable("refused"), 2, POLICY, NOW, may_forfeit=True) == Retry(
        NOW + timedelta(minutes=5)
    )


@pytest.mark.parametrize("error", [MinerFault("swapped bytes"), QuarantinedError("killed 3 workers")])
def test_miner_that_broke_its_word_loses_all_where_a_part_could_be_lost(
    error: MinerFault | QuarantinedError,
) -> None:
    assert judge(error, 3, POLICY, NOW, may_forfeit=True) == Reject(str(error))


def test_our_own_failure_excuses_the_miner_when_the_attempts_are_used_up() -> None:
    assert judge(TransientError("503"), 3, POLICY, NOW) == Excuse("TransientError on attempt 3: 503")
