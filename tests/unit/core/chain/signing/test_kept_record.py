"""Signers of one hotkey share its record: one holds it while its engine's lease lasts, and the next goes on with it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gaia.validator.core.chain.signing.kept_record import LONGEST_WAIT_S, KeptRecord
from gaia.validator.core.chain.signing.signing_policy import SigningPolicy
from gaia.validator.core.chain.signing.term import Term
from gaia.validator.utils.errors import ConfigurationError, ExitCode, OwnFailure
from gaia.validator.utils.signer_messages import SignAuth

MINER = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"


class Clock:
    """Seconds that only a test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def a_record(path: Path, clock: Clock | None = None) -> tuple[KeptRecord, Term]:
    term = Term()
    return KeptRecord(path / "signed.json", "5Own", 57, term, clock or Clock()), term


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def test_record_passes_to_the_next_signer_when_the_lease_is_over(tmp_path: Path) -> None:
    first, lease = a_record(tmp_path)
    second, _ = a_record(tmp_path)
    lease.note(boottime() + 60)
    first.record().promise(7, "ab")
    with pytest.raises(OwnFailure, match="another validator signs with the record"):
        second.record()

    first.let_go_if_over()
    with pytest.raises(OwnFailure):
        second.record()
    lease.note(boottime() - 1)
    first.let_go_if_over()

    assert second.record().vector_of(7) == "ab"


def test_signer_whose_lease_came_back_reads_what_the_other_signed_meanwhile(tmp_path: Path) -> None:
    first, lease = a_record(tmp_path)
    second, theirs = a_record(tmp_path)
    first.record().promise(7, "ab")
    lease.note(0.0)
    first.let_go_if_over()
    second.record().promise(8, "cd")
    theirs.note(0.0)
    second.let_go_if_over()

    assert first.record().vector_of(8) == "cd"


def test_record_that_another_signer_never_lets_go_ends_the_validator(tmp_path: Path) -> None:
    clock = Clock()
    first, _ = a_record(tmp_path)
    second, _ = a_record(tmp_path, clock)
    first.record()
    second.try_at_start()

    clock.now = 1_000_000.0  # it stood by for days
    for _ in range(3):
        with pytest.raises(OwnFailure):
            second.record()
        clock.now += LONGEST_WAIT_S / 2
    clock.now += 1
    with pytest.raises(ConfigurationError) as caught:
        second.record()

    assert caught.value.exit_code is ExitCode.DATA_DIR_IN_USE


def test_standby_that_starts_first_does_not_keep_the_record_from_the_active_signer(tmp_path: Path) -> None:
    standby, _ = a_record(tmp_path)
    active, _ = a_record(tmp_path)
    standby.try_at_start()

    active.record().promise(7, "ab")


def test_damaged_record_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "signed.json").write_text("no record")

    with pytest.raises(ConfigurationError, match="is damaged"):
        a_record(tmp_path)[0].try_at_start()


async def test_nothing_is_signed_after_the_lease_and_again_once_it_is_renewed(tmp_path: Path) -> None:
    term = Term()
    policy = SigningPolicy(None, term=term)
    request = SignAuth(request_id=1, miner_hotkey=MINER, symmetric_key_uuid="ab")
    await policy.permit_auth(request)

    term.note(boottime() - 0.001)
    with pytest.raises(OwnFailure, match="the lease of the database is over"):
        await policy.permit_auth(request)
    term.note(None)
    assert term.is_over

    term.note(boottime() + 60)
    await policy.permit_auth(request)
