"""Every attempt to set weights is counted by its outcome."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gaia.validator.core.weights.setting import SUBMISSIONS
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import GaiaError, OwnFailure, TransientError
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
