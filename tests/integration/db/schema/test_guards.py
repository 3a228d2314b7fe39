"""The server refuses what no row may become, whoever writes it: states, identities, scores and promises."""

from __future__ import annotations

import asyncpg
import pytest

from gaia.tasks.defined_tasks.weather.forecasts.lifecycle import TRANSITIONS
from gaia.validator.db.connection import Database
from gaia.validator.db.failures import StatementRefused
from gaia.validator.db.states import ForecastState, VectorState

AT = "'2026-03-25'"
RUN = f"INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ('r', {AT}, 'gaia-2.9', {AT})"
MANIFEST = "manifest = 'ab', manifest_sha256 = 'cd', signature = 'ef', committed_at = " + AT
COMPONENT = (
    "INSERT INTO component_scores (run_id, hotkey, rule_set, kind, field, lead_hours, rmse, mse, mae, bias,"
    " forecast_digest, truth_digest, scored_at)"
    f" VALUES ('r', '5Miner', '{{rule_set}}', 'final', '2t', {{lead}}, {{rmse}}, 1, 1, 0, 'ab', 'cd', {AT})"
)
LEAD = (
    "INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, reason, scored_at)"
    f" VALUES ('r', '5Miner', 'gaia-2.9', 'final', {{lead}}, {{score}}, {{reason}}, {AT})"
)
SCORE = (
    "INSERT INTO score_table (run_id, hotkey, rule_set, leads, overall, counted, updated_at)"
    f" VALUES ('r', '5Miner', 'gaia-2.9', '{{{{}}}}', {{overall}}, true, {AT})"
)
VECTOR = (
    "INSERT INTO weight_journal (netuid, mechid, epoch, rule_set, vector, vector_sha256, weights, run_ids,"
    " completed_ids, intended_at, state, block, sealed) VALUES (57, 0, {epoch}, 'gaia-2.9', '[[1, 65535]]', 'ab',"
    f" '{{{{}}}}', '[]', '[]', {AT}, '{{state}}', {{block}}, {{sealed}})"
)


def planned(hotkey: str, uid: int) -> str:
    return (
        "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at)"
        f" VALUES ('r', '{hotkey}', {uid}, 0, {AT}, {AT}, {AT})"
    )


def vector(state: str, epoch: int = 7) -> str:
    has_block, is_sealed = state in ("set", "revealed"), state in ("committed", "revealed")
    return VECTOR.format(
        state=state, epoch=epoch, block="9" if has_block else "NULL", sealed="'ab'" if is_sealed else "NULL"
    )


@pytest.fixture
async def filled(database: Database) -> Database:
    """A database with one open run and one planned forecast."""
    await write(database, RUN, planned("5Miner", 1))
    return database


async def write(database: Database, *statements: str) -> None:
    async with database.transaction() as connection:
        for statement in statements:
            await connection.execute(statement)


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(["UPDATE forecasts SET state = 'scored'"], id="planned to scored"),
        pytest.param([f"UPDATE forecasts SET {MANIFEST}", "UPDATE forecasts SET manifest = 'xy'"], id="manifest replaced"),
        pytest.param([f"UPDATE forecasts SET {MANIFEST}", "UPDATE forecasts SET signed_by = 'me'"], id="signer replaced"),
        pytest.param(["UPDATE forecasts SET attempts = -1"], id="attempts below 0"),
        pytest.param([planned("5Other", 70_000)], id="uid out of range"),
        pytest.param([planned("5Other", 1)], id="uid twice in a run"),
        pytest.param(["UPDATE forecasts SET uid = 2"], id="uid changed"),
        pytest.param(["DELETE FROM forecasts"], id="forecast deleted"),
        pytest.param([f"UPDATE runs SET state = 'completed', completed_at = {AT}"], id="run completed with living forecasts"),
        pytest.param(["UPDATE runs SET rule_set = 'gaia-next'"], id="rules of a run changed"),
        pytest.param(["UPDATE runs SET contract = '{}'", "UPDATE runs SET contract = '[]'"], id="contract changed"),
        pytest.param(["DELETE FROM runs"], id="run deleted"),
        pytest.param(["UPDATE runs SET imported_from = 'original run 1'"], id="run said to be imported"),
        pytest.param(["UPDATE forecasts SET is_imported = true"], id="forecast said to be imported"),
        pytest.param([COMPONENT.format(rule_set="gaia-2.9", lead=24, rmse="'NaN'")], id="error that is no number"),
        pytest.param([COMPONENT.format(rule_set="gaia-2.9", lead=24, rmse="'inf'")], id="error without end"),
        pytest.param([COMPONENT.format(rule_set="gaia-2.9", lead=-25, rmse=1)], id="lead below 0"),
        pytest.param([COMPONENT.format(rule_set="zzz", lead=24, rmse=1)], id="rules that are none"),
        pytest.param([COMPONENT.format(rule_set="gaia-2.9", lead=24, rmse=1), "UPDATE component_scores SET rmse = 0"], id="score of a field changed"),
        pytest.param([COMPONENT.format(rule_set="gaia-2.9", lead=24, rmse=1), "DELETE FROM component_scores"], id="score of a field deleted"),
        pytest.param([LEAD.format(lead=24, score=0.5, reason="NULL"), "UPDATE lead_scores SET score = 1"], id="score changed"),
        pytest.param([LEAD.format(lead=24, score=0.5, reason="NULL"), "DELETE FROM lead_scores"], id="score deleted"),
        pytest.param([LEAD.format(lead=24, score=1.5, reason="NULL")], id="score above 1"),
        pytest.param([LEAD.format(lead=24, score="'NaN'", reason="NULL")], id="no number and no reason"),
        pytest.param([SCORE.format(overall="'NaN'")], id="overall score that is no number"),
        pytest.param([vector("set"), "UPDATE weight_journal SET state = 'failed'"], id="set to failed with its block"),
        pytest.param([vector("intended"), "UPDATE weight_journal SET state = 'set'"], id="set without a block"),
        pytest.param([vector("intended"), "UPDATE weight_journal SET vector = '[[2, 65535]]'"], id="promised vector changed"),
        pytest.param([vector("committed"), "UPDATE weight_journal SET sealed = 'xy'"], id="committed vector changed"),
        pytest.param([vector("set"), "DELETE FROM weight_journal"], id="promise deleted"),
    ],
)  # fmt: skip
async def test_illegal_write_is_refused_and_named(filled: Database, statements: list[str]) -> None:
    *before, last = statements
    await write(filled, *before)

    with pytest.raises(StatementRefused) as caught:
        await write(filled, last)

    assert caught.value.sqlstate.startswith("23")


async def test_lead_that_was_given_up_for_all_is_no_number_with_a_reason(filled: Database) -> None:
    await write(filled, LEAD.format(lead=24, score="'NaN'", reason="'its truth was public'"))


async def test_forecasts_move_as_the_table_of_transitions_says_and_no_other_way(database: Database) -> None:
    await write(database, RUN)
    # Day 1 may be scored last, and then both kinds of leads are complete at once.
    allowed = {(source, target) for source, moves in TRANSITIONS.items() for target in moves.values()}
    allowed.add((ForecastState.FROZEN, ForecastState.SCORED))

    for uid, source in enumerate(ForecastState):
        for target in set(ForecastState) - {source}:
            is_allowed = await is_possible(
                database,
                "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at, state, manifest,"
                f" manifest_sha256, reason) VALUES ('r', '5Miner', {uid}, 0, {AT}, {AT}, {AT}, '{source}', 'ab', 'cd', 'why')",
                f"UPDATE forecasts SET state = '{target}'",
            )
            assert is_allowed == ((source, target) in allowed), (source, target)


async def test_vectors_move_as_the_journal_moves_them_and_no_other_way(database: Database) -> None:
    ends = {VectorState.LOST, VectorState.REVEALED}

    for source in VectorState:
        for target in set(VectorState) - {source}:
            block = "9" if target in (VectorState.SET, VectorState.REVEALED) else "NULL"
            is_allowed = await is_possible(
                database,
                vector(source),
                f"UPDATE weight_journal SET state = '{target}', block = {block}, sealed = 'ab'"
                if source in (VectorState.INTENDED, VectorState.FAILED)
                else f"UPDATE weight_journal SET state = '{target}', block = {block}",
            )
            expected = source not in ends and target is not VectorState.INTENDED
            if source is VectorState.SET:
                expected = target is VectorState.FAILED
            if source is VectorState.COMMITTED:
                expected = target in (VectorState.FAILED, *ends)
            assert is_allowed == expected, (source, target)


async def is_possible(database: Database, *statements: str) -> bool:
    """Return whether the server takes all statements; leave nothing of them behind."""
    async with database.transaction() as connection:
        undone = connection.transaction()
        await undone.start()
        try:
            for statement in statements:
                await connection.execute(statement)
        except asyncpg.IntegrityConstraintViolationError:
            return False
        finally:
            await undone.rollback()
    return True
