"""Weights follow a miner that swaps its hotkey, once two readings of the chain say so."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gaia.validator.core.weights import gates
from gaia.validator.db.connection import Database
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.identities import Hotkey
from tests.integration.core.test_weight_gates import (
    BURN,
    DUE,
    NEAR_THE_CUTOFF,
    a_reading,
    a_setting,
    execute,
    looks,
    weight_parts,
)
from tests.support.weight_setters import MINERS, Setting

_BEST = MINERS[0]
_SWAPPED = "5Swapped"


@pytest.fixture(autouse=True)
def few_miners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge drift and spread among the few miners of these tests, too."""
    monkeypatch.setattr(gates, "LEAST_MINERS", 1.0)


def _after_swap(block: int, old: str = _BEST, new: str = _SWAPPED, **changes: Any) -> Metagraph:
    graph = a_reading(block, 1001)
    neurons = [
        msgspec.structs.replace(neuron, hotkey=Hotkey(new), **changes) if neuron.hotkey == old else neuron
        for neuron in graph.neurons
    ]
    return msgspec.structs.replace(graph, neurons=neurons)


async def _vector(setting: Setting, epoch: int) -> dict[str, Any]:
    return next(row for row in await setting.journal() if row["epoch"] == epoch)


async def test_swapped_miner_is_paid_as_before_without_a_gate_in_the_way(database: Database) -> None:
    setting = await a_setting(database)
    (first,) = setting.signer.signed

    assert await looks(setting, a_reading(1250, 1001), _after_swap(1300)) == []
    (incident,) = await setting.incidents()
    assert f"{_BEST} was swapped for {_SWAPPED}" in incident.evidence
    (second,) = await looks(setting, _after_swap(1301))

    assert second == first
    assert setting.signer.paid[-1][:3] == [_SWAPPED, *MINERS[1:]]
    assert (await _vector(setting, 13))["weights"][_SWAPPED] > 0
    assert await setting.incidents() == []


async def test_names_of_the_runs_are_kept_with_the_vector(database: Database) -> None:
    setting = await a_setting(database)

    await looks(setting, a_reading(1250, 1001), _after_swap(1300), _after_swap(1301))

    parts = await weight_parts(setting, epoch=13)
    run_ids = (await _vector(setting, 13))["run_ids"]
    assert parts["renamed"] == {run_id: {_BEST: _SWAPPED} for run_id in run_ids}


async def test_first_reading_after_a_start_is_not_believed_alone_about_a_swap(database: Database) -> None:
    setting = await a_setting(database)
    setting.setter = setting.successor()

    assert await looks(setting, _after_swap(1300)) == []
    assert len(await looks(setting, _after_swap(1301))) == 1


async def test_newcomer_in_the_slot_has_no_scores(database: Database) -> None:
    setting = await a_setting(database, weights_max_drift=1.0)
    readings = [_after_swap(block, registered_at=1290) for block in (1300, 1301)]

    (vector,) = await looks(setting, a_reading(1250, 1001), *readings)

    assert 1 not in dict(vector)


async def test_renewed_vector_pays_the_swapped_miner(database: Database) -> None:
    setting = await a_setting(database)
    (first,) = setting.signer.signed
    await execute(setting, "DELETE FROM score_table")
    due = 1001 + NEAR_THE_CUTOFF

    signed = await looks(setting, a_reading(1001 + DUE, 1001), _after_swap(due), _after_swap(due + 1))

    assert signed == [first]
    assert setting.signer.paid[-1][:3] == [_SWAPPED, *MINERS[1:]]


async def test_signer_gets_registrations_and_the_burn_with_each_vector(database: Database) -> None:
    setting = await a_setting(database)

    (vector,) = setting.signer.vectors

    assert dict(zip(vector.hotkeys, vector.registered, strict=True)) == {
        hotkey: number for number, hotkey in enumerate([*MINERS, BURN], start=1)
    }
    assert vector.burner == BURN
