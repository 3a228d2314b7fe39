"""Every attempt to set weights is counted by its outcome."""

from __future__ import annotations

import json
from datetime import timedelta

import msgspec
import pytest

from gaia.validator.app.logging_config import configure_logging
from gaia.validator.core.weights.preflight import impossible
from gaia.validator.core.weights.setting import REFUSALS, SUBMISSIONS
from gaia.validator.db.connection import Database
from gaia.validator.utils.chain.refusals import Cause
from gaia.validator.utils.errors import (
    ConfigurationError,
    ExitCode,
    GaiaError,
    OwnFailure,
    SigningRefused,
    TransientError,
    WeightsImpossible,
    WeightsRefused,
)
from tests.support.weight_setters import NOW, Setting


@pytest.fixture
async def setting(database: Database) -> Setting:
    setting = Setting(database)
    await setting.record_run(NOW - timedelta(days=1), {"5Best": 0.6, "5Second": 0.5})
    return setting


def _gained(before: dict[str, float]) -> dict[str, float]:
    """Return outcome -> submissions since `before`, without those at 0."""
    gained = {outcome: total - before[outcome] for outcome, total in SUBMISSIONS.items()}
    return {outcome: number for outcome, number in gained.items() if number}


def _refused(before: dict[Cause, float]) -> dict[str, float]:
    """Return cause -> refusals since `before`, without those at 0."""
    gained = {str(cause): total - before[cause] for cause, total in REFUSALS.items()}
    return {cause: number for cause, number in gained.items() if number}


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


async def test_promise_whose_uid_is_gone_goes_to_the_signer_which_knows_the_uids_of_now(
    setting: Setting,
) -> None:
    setting.signer.failures = [TransientError("no answer")]
    with pytest.raises(TransientError):
        await setting.setter.set_if_due(NOW)
    graph = setting.metagraph.metagraph
    assert graph is not None
    setting.metagraph.metagraph = msgspec.structs.replace(graph, neurons=graph.neurons[:-2])
    before = dict(SUBMISSIONS.items())

    await setting.setter.set_if_due(NOW)

    assert _gained(before) == {"set": 1}
    assert setting.signer.signed[0] == setting.signer.signed[1]


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("NotEnoughStakeToSetWeights", "ours"),
        ("WeightVecLengthIsLow", "theirs"),
        ("Stale", "race"),
        ("New", "theirs"),
    ],
)
async def test_refusal_is_counted_by_who_must_act(setting: Setting, name: str, cause: str) -> None:
    before, causes = dict(SUBMISSIONS.items()), dict(REFUSALS.items())
    setting.signer.failures = [WeightsRefused(f"the chain refused the weights: {name}", name)]

    with pytest.raises(WeightsRefused):
        await setting.setter.set_if_due(NOW)

    assert (_gained(before), _refused(causes)) == ({"failed": 1}, {cause: 1})


async def test_what_the_signer_foresees_is_counted_as_refused_and_not_as_submitted(setting: Setting) -> None:
    before, causes = dict(SUBMISSIONS.items()), dict(REFUSALS.items())
    setting.signer.failures = [impossible("SettingWeightsTooFast")]

    with pytest.raises(WeightsImpossible):
        await setting.setter.set_if_due(NOW)

    assert (_gained(before), _refused(causes)) == ({}, {"race": 1})


async def test_refusal_with_other_figures_is_the_same_incident_and_is_logged(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", "json")
    for blocks in (9, 7):
        setting.signer.failures = [impossible("SettingWeightsTooFast", f"{blocks} more blocks must pass")]
        with pytest.raises(WeightsImpossible):
            await setting.setter.set_if_due(NOW)

    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events.count("incident_began") == 1
    assert events.count("weights_impossible") == 1
    (incident,) = await setting.incidents()
    assert "7 more blocks must pass" in incident.evidence


@pytest.mark.parametrize("dry_run", [False, True])
async def test_lost_stake_is_an_incident_but_in_a_dry_run(database: Database, dry_run: bool) -> None:
    setting = Setting(database, dry_run=dry_run)
    await setting.record_run(NOW - timedelta(days=1), {"5Best": 0.6, "5Second": 0.5})
    graph = setting.metagraph.metagraph
    assert graph is not None
    setting.metagraph.metagraph = msgspec.structs.replace(graph, stake_threshold=9e9, owner_hotkey="5Owner")
    before = dict(REFUSALS.items())

    assert await setting.setter.set_if_due(NOW) is None

    assert setting.signer.signed == []
    assert _refused(before) == ({} if dry_run else {"ours": 1})
    assert [incident.party for incident in await setting.incidents()] == ([] if dry_run else ["weights"])
