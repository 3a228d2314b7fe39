"""Where something reaches us from outside."""

import asyncio
import errno

import pytest

from gaia.validator.utils.borders import UNFORESEEN, Party, border
from gaia.validator.utils.errors import MinerFault, MinerUnreachable, OwnFailure, TransientError


@pytest.mark.parametrize(
    ("party", "kind"),
    [
        (Party.MINER, MinerUnreachable),
        (Party.ARCHIVE, TransientError),
        (Party.CHAIN, TransientError),
        (Party.DATABASE, OwnFailure),
        (Party.SIGNER, OwnFailure),
        (Party.POOL, OwnFailure),
        (Party.DISK, OwnFailure),
    ],
)
def test_an_unforeseen_exception_becomes_the_error_of_its_party_and_is_counted(
    party: Party, kind: type[Exception]
) -> None:
    before = UNFORESEEN[party]

    with pytest.raises(kind, match="reading: ValueError") as caught, border(party, "reading"):
        raise ValueError("no TLS")

    assert type(caught.value) is kind
    assert UNFORESEEN[party] == before + 1


def test_error_of_the_system_is_what_a_disk_is_expected_to_raise() -> None:
    before = UNFORESEEN.copy()

    with pytest.raises(OwnFailure, match="No space left"), border(Party.DISK, "writing"):
        raise OSError(errno.ENOSPC, "No space left on device")

    assert before == UNFORESEEN


@pytest.mark.parametrize("error", [MinerFault("lies"), asyncio.CancelledError(), KeyboardInterrupt()])
def test_typed_errors_and_cancellation_pass_a_border_unchanged(error: BaseException) -> None:
    before = UNFORESEEN.copy()

    with pytest.raises(type(error)) as caught, border(Party.MINER, "reading"):
        raise error

    assert caught.value is error
    assert before == UNFORESEEN
