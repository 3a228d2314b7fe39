"""Every fault of a miner is counted under one word of a closed set; nothing else is blamed on a miner."""

from __future__ import annotations

import pytest

from gaia.tasks.defined_tasks.weather.forecasts.faults import VERIFICATION_FAILURES, reason_of
from gaia.validator.utils import errors
from gaia.validator.utils.errors import (
    MINER_FAULTS,
    GaiaError,
    MinerFault,
    MinerUnreachable,
    OwnFailure,
    QuarantinedError,
    TransientError,
)


@pytest.mark.parametrize("kind", [*MINER_FAULTS, MinerUnreachable, QuarantinedError])
def test_reason_of_every_fault_is_one_that_is_counted(kind: type[GaiaError]) -> None:
    assert reason_of(kind("why")) in VERIFICATION_FAILURES


def test_no_two_kinds_of_fault_share_a_word() -> None:
    words = [kind.reason for kind in MINER_FAULTS]

    assert len(set(words)) == len(words)


def test_all_kinds_of_fault_are_known() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MinerFault)
    ]

    assert set(kinds) == set(MINER_FAULTS)


@pytest.mark.parametrize("kind", [OwnFailure, TransientError])
def test_failure_of_ours_has_no_word(kind: type[GaiaError]) -> None:
    with pytest.raises(TypeError, match="no miner is to blame"):
        reason_of(kind("why"))
