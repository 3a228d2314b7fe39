"""Weights are held on partial, old or odd data; the last vector stays, and is set again in time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import structlog
from verify_weights import follows

from gaia.cli.export.inputs import record_of
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.core.weights import gates
from gaia.validator.core.weights.computing import RENEWAL_PART
from gaia.validator.core.weights.gates import LEAST_RUNS
from gaia.validator.core.weights.setting import SUBMISSIONS
from gaia.validator.db import history
from gaia.validator.db.connection import Database
from gaia.validator.utils.chain.metagraph import Metagraph, Neuron
from gaia.validator.utils.errors import NotYetAvailable, TransientError
from tests.support.fakes import VALIDATOR, a_metagraph
from tests.support.unguarded import UNGUARDED_HERE
from tests.support.weight_setters import MINERS, NOW, Setting

SCORES = {"5Best": 0.6, "5Second": 0.5, "5Third": 0.2}
BURN = "5Burn"
CUTOFF = 3000
DUE, NEAR_THE_CUTOFF = 300, CUTOFF // RENEWAL_PART


@pytest.fixture(autouse=True)
def few_miners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge drift and spread among the few miners of these tests, too."""
    monkeypatch.setattr(gates, "LEAST_MINERS", 1.0)


def a_reading(
    block: int,
    last_update: int = 0,
    hotkeys: Sequence[str] = (*MINERS, BURN),
    without_address: Collection[str] = (),
) -> Metagraph:
    graph = a_metagraph(list(hotkeys), block=block, activity_cutoff=CUTOFF)
    neurons = [_changed(each, ip="") if each.hotkey in without_address else each for each in graph.neurons]
    # A registration tells a miner from an earlier one of its hotkey.
    registered = {hotkey: uid for uid, hotkey in enumerate([VALIDATOR, *MINERS, BURN])}
    neurons = [_changed(each, registered_at=registered.get(each.hotkey, block)) for each in neurons]
    neurons[0] = _changed(neurons[0], last_update=last_update)
    return msgspec.structs.replace(graph, neurons=neurons)


def _changed(neuron: Neuron, **changes: Any) -> Neuron:
    return msgspec.structs.replace(neuron, **changes)


async def a_setting(database: Database, runs: int = LEAST_RUNS, **changes: Any) -> Setting:
    """A setting whose first vector, of `runs` runs, is set in block 1001."""
    setting = Setting(database, burn_hotkey=BURN, **changes)
    for days in range(runs, 0, -1):
        await setting.record_run(NOW - timedelta(days=days), SCORES)
    setting.metagraph.metagraph = a_reading(1000)
    assert await setting.setter.set_if_due(NOW) is not None
    return setting


async def looks(setting: Setting, *readings: Metagraph, later: timedelta = timedelta()) -> list[Any]:
    """What is signed while the chain is read so."""
    before = len(setting.signer.signed)
    for reading in readings:
        setting.metagraph.metagraph = reading
        await setting.setter.set_if_due(NOW + later)
    return setting.signer.signed[before:]


async def execute(setting: Setting, statement: str) -> None:
    async with setting.database.transaction() as connection:
        await connection.execute(UNGUARDED_HERE)
        await connection.execute(statement)


async def test_one_reading_without_a_miners_address_takes_nothing_from_it(database: Database) -> None:
    setting = await a_setting(database)
    (first,) = setting.signer.signed

    signed = await looks(setting, a_reading(1200, 1001), a_reading(1300, 1001, without_address=["5Best"]))

    assert signed == [first]
    parts = await weight_parts(setting, epoch=13)
    assert parts["earlier"] == {"5Best": 1200}


async def test_second_reading_without_an_address_ends_its_pay(database: Database) -> None:
    setting = await a_setting(database, weights_max_drift=1.0)

    (vector,) = await looks(
        setting,
        a_reading(1200, 1001, without_address=["5Best"]),
        a_reading(1300, 1001, without_address=["5Best"]),
    )

    assert 1 not in dict(vector)
    assert {2, 3} <= dict(vector).keys()


async def test_hotkey_that_left_is_awaited_for_one_reading(database: Database) -> None:
    setting = await a_setting(database, weights_max_drift=1.0)
    rest = ["5Second", "5Third", BURN]

    assert await looks(setting, a_reading(1250, 1001), a_reading(1300, 1001, rest)) == []
    (incident,) = await setting.incidents()
    assert (incident.party, "5Best may not earn" in incident.evidence) == ("gates", True)

    (vector,) = await looks(setting, a_reading(1301, 1001, rest))

    assert dict(vector).keys() == {1, 2, 3}
    assert await setting.incidents() == []


async def test_lost_permit_is_another_cause_than_a_gate(database: Database) -> None:
    setting = await a_setting(database)
    await execute(setting, "DELETE FROM score_table")
    await looks(setting, a_reading(1300, 1001))
    assert len(await setting.incidents()) == 1
    reading = a_reading(1400, 1001)
    reading.neurons[0] = _changed(reading.neurons[0], validator_permit=False)

    await looks(setting, msgspec.structs.replace(reading, owner_hotkey="5Owner"))

    (incident,) = await setting.incidents()
    assert incident.party == "weights"
    assert "NeuronNoValidatorPermit" in incident.evidence


async def test_permit_that_came_back_is_no_trouble_any_more_while_a_gate_holds(database: Database) -> None:
    setting = await a_setting(database)
    await execute(setting, "DELETE FROM score_table")
    reading = a_reading(1300, 1001)
    reading.neurons[0] = _changed(reading.neurons[0], validator_permit=False)
    await looks(setting, msgspec.structs.replace(reading, owner_hotkey="5Owner"))

    await looks(setting, a_reading(1400, 1001))

    assert [incident.party for incident in await setting.incidents()] == ["gates"]


async def test_large_change_is_held_and_then_set_and_told(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = await a_setting(database, weights_hold_hours=6.0)
    await execute(setting, "UPDATE score_table SET overall = 0.9 WHERE hotkey = '5Third'")
    await execute(setting, "UPDATE score_table SET overall = 0.0 WHERE hotkey = '5Best'")
    configure_logging("INFO", "json")

    assert await looks(setting, a_reading(1300, 1001)) == []
    for hour in range(1, 6):
        assert await looks(setting, a_reading(1300 + hour, 1001), later=timedelta(hours=hour)) == []
    (vector,) = await looks(setting, a_reading(1320, 1001), later=timedelta(hours=6))

    assert dict(vector)[3] > dict(vector).get(1, 0)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    events = [line["event"] for line in lines]
    assert events == [
        "weights_withheld",
        "incident_began",
        "incident_ended",
        "weights_hold_ended",
        "weights_set",
    ]
    assert lines[0]["gate"] == lines[3]["gate"] == "drift"
    structlog.reset_defaults()


async def test_first_run_is_paid_once_most_of_it_is_scored(database: Database) -> None:
    setting = Setting(database, burn_hotkey=BURN)
    await setting.record_run(NOW - timedelta(days=1), SCORES)
    await execute(setting, "CREATE TABLE kept AS SELECT * FROM score_table WHERE hotkey <> '5Third'")
    await execute(setting, "DELETE FROM score_table WHERE hotkey <> '5Third'")
    before = dict(SUBMISSIONS.items())["held"]

    assert await looks(setting, a_reading(1000)) == []
    assert dict(SUBMISSIONS.items())["held"] == before + 1
    # No weights of ours are on chain yet, so that none are held.
    assert await setting.incidents() == []

    await execute(setting, "INSERT INTO score_table SELECT * FROM kept")
    assert len(await looks(setting, a_reading(1001))) == 1


async def test_last_vector_is_set_again_by_the_uids_of_now_before_the_chain_ignores_us(
    database: Database,
) -> None:
    setting = await a_setting(database)
    (first,) = setting.signer.signed
    await execute(setting, "DELETE FROM score_table")
    moved = ["5New", BURN, "5Third", "5Second", "5Best"]

    assert await looks(setting, a_reading(1001 + NEAR_THE_CUTOFF - 1, 1001, moved)) == []
    (vector,) = await looks(setting, a_reading(1001 + NEAR_THE_CUTOFF, 1001, moved))

    uids = dict(zip([VALIDATOR, *MINERS, BURN], range(5), strict=True))
    then = {hotkey: dict(first).get(uid, 0) for hotkey, uid in uids.items()}
    now = dict(zip([VALIDATOR, *moved], range(6), strict=True))
    assert dict(vector) == {now[hotkey]: value for hotkey, value in then.items() if value}
    row = await vector_row(setting, epoch=(1001 + NEAR_THE_CUTOFF) // 100)
    assert row.inputs["renewal_of"] == 10
    assert sum(row.weights.values()) == pytest.approx(1.0)
    assert list(follows(msgspec.to_builtins(record_of(row, await all_parts(setting), VALIDATOR)))) == []


async def test_renewed_vector_is_renewed_again(database: Database) -> None:
    setting = await a_setting(database)
    await execute(setting, "DELETE FROM score_table")

    first = await looks(setting, a_reading(2001, 1001))
    second = await looks(setting, a_reading(3001, 2001))

    assert first == second == [setting.signer.signed[0]]
    renewals = [(await vector_row(setting, epoch)).inputs["renewal_of"] for epoch in (20, 30)]
    assert renewals == [10, 10]


async def test_hold_is_told_though_the_vector_that_stands_cannot_be_read(database: Database) -> None:
    setting = await a_setting(database)
    await execute(setting, "DELETE FROM weight_inputs")
    await execute(setting, "DELETE FROM score_table")

    assert await looks(setting, a_reading(3000, 1001)) == []

    (incident,) = await setting.incidents()
    assert incident.evidence == "scores: no score in the window"


async def test_renewal_waits_for_a_second_reading_of_who_left(database: Database) -> None:
    setting = await a_setting(database)
    await execute(setting, "DELETE FROM score_table")
    rest = ["5Second", "5Third", BURN]

    assert await looks(setting, a_reading(2000, 1900), a_reading(2401, 1900, rest)) == []
    (vector,) = await looks(setting, a_reading(2402, 1900, rest))

    assert dict(vector).keys() == {1, 2, 3}


async def test_vector_whose_miners_are_all_gone_is_not_renewed(database: Database) -> None:
    setting = await a_setting(database)
    await execute(setting, "DELETE FROM score_table")

    assert await looks(setting, *(a_reading(block, 1001, [BURN]) for block in (2001, 2002, 2003))) == []


FAULTS = {
    "no scores": "DELETE FROM score_table",
    "old scores": "UPDATE score_table SET updated_at = updated_at - interval '10 days'",
    "few scores": "DELETE FROM score_table WHERE hotkey <> '5Third'",
}
ABSENT = ("no overlaps", "no addresses", "no miners", "no burn hotkey")


@pytest.mark.parametrize("since_update", [DUE, NEAR_THE_CUTOFF], ids=["due", "near the cutoff"])
async def test_whatever_is_missing_the_last_vector_stays_or_is_set_again(
    database: Database, since_update: int
) -> None:
    """Every subset of what may be missing in one look; the scores have changed since the last vector."""
    leads = {hotkey: {"24": score} for hotkey, score in SCORES.items()}
    setting = Setting(database, burn_hotkey=BURN, rule_set="gaia-next")
    for days in range(LEAST_RUNS, 0, -1):
        await setting.record_run(NOW - timedelta(days=days), SCORES, rule_set="gaia-next", leads=leads)
    setting.metagraph.metagraph = a_reading(1000)
    await setting.setter.set_if_due(NOW)
    (last,) = setting.signer.signed
    await execute(setting, "UPDATE score_table SET leads = '{\"24\": 0.55}' WHERE hotkey = '5Second'")
    await execute(setting, "CREATE TABLE kept AS SELECT * FROM score_table")
    block = 1000

    async def signed_without(*missing: str) -> list[Any]:
        nonlocal block
        block += 5000
        setting.metagraph.metagraph = a_reading(block - 1, block - 1)
        await setting.setter.set_if_due(NOW)
        for name in missing:
            if name in FAULTS:
                await execute(setting, FAULTS[name])
        no_overlaps = NotYetAvailable("no overlaps", NOW) if block % 2 else TransientError("failed")
        setting.copies.failures = [no_overlaps] if "no overlaps" in missing else []
        hotkeys = [
            *([] if "no miners" in missing else MINERS),
            *([] if "no burn hotkey" in missing else [BURN]),
        ]
        without = MINERS if "no addresses" in missing else ()
        signed = await looks(setting, a_reading(block, block - since_update, hotkeys, without))
        await execute(setting, "DELETE FROM score_table")
        await execute(setting, "INSERT INTO score_table SELECT * FROM kept")
        return signed

    names = [*FAULTS, *ABSENT]
    for number in range(1, len(names) + 1):
        for missing in itertools.combinations(names, number):
            if missing != ("no addresses",):
                signed = await signed_without(*missing)
                is_renewable = {"no miners", "no burn hotkey"}.isdisjoint(missing)
                assert signed == ([last] if is_renewable and since_update == NEAR_THE_CUTOFF else []), missing
    # One reading without addresses changes nothing, so that the new scores are paid.
    (fresh,) = await signed_without("no addresses")
    assert fresh != last


async def test_last_vector_that_cannot_be_read_stops_nothing_and_an_older_one_takes_its_place(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", "json")
    setting = await a_setting(database)
    await execute(setting, "UPDATE score_table SET overall = 0.55 WHERE hotkey = '5Second'")
    (second,) = await looks(setting, a_reading(1300, 1001))
    row = await vector_row(setting, epoch=13)
    parts = {row.inputs["present"], *(digest for _, digest in row.inputs["runs"])}
    first = await vector_row(setting, epoch=10)
    parts -= {first.inputs["present"], *(digest for _, digest in first.inputs["runs"])}
    await execute(setting, f"DELETE FROM weight_inputs WHERE sha256 IN ({str([*parts])[1:-1]})")
    await execute(setting, "DELETE FROM score_table WHERE hotkey <> '5Third'")

    (renewed,) = await looks(setting, a_reading(1300 + NEAR_THE_CUTOFF, 1300))
    assert renewed == setting.signer.signed[0] != second

    await execute(setting, "DELETE FROM weight_inputs")
    assert await looks(setting, a_reading(3000, 1800)) == []
    assert len(await setting.incidents()) == 1
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    unreadable = [line["epoch"] for line in lines if line["event"] == "last_vector_unreadable"]
    assert {13, 10} <= {*unreadable}
    structlog.reset_defaults()


async def vector_row(setting: Setting, epoch: int) -> Any:
    async with setting.database.transaction() as connection:
        rows = await history.newest_vectors(connection, 100)
    return next(row for row in rows if row.epoch == epoch)


async def all_parts(setting: Setting) -> dict[str, str]:
    async with setting.database.transaction() as connection:
        rows = await connection.fetch("SELECT sha256, content FROM weight_inputs")
    return {row["sha256"]: row["content"] for row in rows}


async def weight_parts(setting: Setting, epoch: int) -> dict[str, Any]:
    row = await vector_row(setting, epoch)
    present: dict[str, Any] = json.loads((await all_parts(setting))[row.inputs["present"]])
    return present
