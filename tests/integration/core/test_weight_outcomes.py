"""Every attempt to set weights is counted by its outcome."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gaia.validator.core.weights.setting import SUBMISSIONS
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import (
    ConfigurationError,
    ExitCode,
    GaiaError,
    OwnFailure,
    SigningRefused,
    TransientError,
)
from tests.support.weight_setters import NOW, Setting


@pytest.fixture
async def setting(database: Database) -> Setting:
    setting = Setting(database)
    await setting.record_run(NOW - timedelta(days=1), {"5Best": 0.6, "5Second": 0.5})
    return setting


def _gained(before: dict[str, float]) -> dict[str, float]:
    """Return outcome -> attempts since `before`, without those at 0."""
    gained = {outcome: total - before[outcome] for outcome, total in SUBMISSIONS.items()}
    return {outcome: number for outcome, number in gained.items() if number}


async def test_weights_on_chain_are_counted_as_set(setting: Setting) -> None:
    before = dict(SUBMISSIONS.items())

    await setting.setter.set_if_due(NOW)

    assert _gained(before) == {"set": 1}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(TransientError("the chain refused the weights"), "failed"), (OwnFailure("the signer died"), "unknown")],
)
async def test_attempt_that_fails_is_counted_by_whether_the_chain_may_have_the_vector(
    setting: Setting, error: GaiaError, outcome: str
) -> None:
    before = dict(SUBMISSIONS.items())
    setting.signer.failures = [error]

    with pytest.raises(TransientError):
        await setting.setter.set_if_due(NOW)

    assert _gained(before) == {outcome: 1}


async def test_weights_that_are_due_without_scores_are_counted_as_held(database: Database) -> None:
    before = dict(SUBMISSIONS.items())

    await Setting(database).setter.set_if_due(NOW)

    assert _gained(before) == {"held": 1}


async def test_weights_that_are_not_due_are_not_counted(setting: Setting) -> None:
    setting.at_block(1240, last_update=1001)
    before = dict(SUBMISSIONS.items())

    await setting.setter.set_if_due(NOW)

    assert _gained(before) == {}


async def test_new_update_on_chain_is_checked_once(setting: Setting) -> None:
    for block, last_update in ((1240, 1001), (1250, 1001), (1260, 1255)):
        setting.at_block(block, last_update=last_update)
        await setting.setter.set_if_due(NOW)

    assert setting.signer.checks == 2


async def test_update_that_a_lagging_node_did_not_know_is_checked_again(setting: Setting) -> None:
    setting.at_block(1260, last_update=1255)
    for block in (1250, 1260, 1261):
        setting.signer.checked_block = block
        await setting.setter.set_if_due(NOW)

    assert setting.signer.checks == 2


async def test_weights_of_another_program_are_refused_although_none_are_due(setting: Setting) -> None:
    setting.at_block(1240, last_update=1235)
    setting.signer.foreign = [SigningRefused("another program signs")] * 2
    before = dict(SUBMISSIONS.items())

    for _ in range(2):
        with pytest.raises(SigningRefused):
            await setting.setter.set_if_due(NOW)

    assert (_gained(before), setting.signer.signed) == ({"refused": 2}, [])
    (incident,) = await setting.incidents()
    assert (incident.party, incident.evidence) == ("weights", "another program signs")


async def test_second_instance_ends_the_validator_before_anything_is_signed(setting: Setting) -> None:
    setting.at_block(2000, last_update=1235)
    setting.signer.foreign = [
        ConfigurationError("GAIA_WALLET_HOTKEY", "another program signs", "stop it", ExitCode.SECOND_INSTANCE)
    ]

    with pytest.raises(ConfigurationError) as raised:
        await setting.setter.set_if_due(NOW)

    assert raised.value.exit_code is ExitCode.SECOND_INSTANCE
    assert setting.signer.signed == []


async def test_dry_run_checks_no_update(database: Database) -> None:
    setting = Setting(database, dry_run=True)
    setting.at_block(1240, last_update=1001)

    await setting.setter.set_if_due(NOW)

    assert setting.signer.checks == 0
