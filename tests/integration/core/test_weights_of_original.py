"""After an import the weights are those of the original: 15 days, 256 miners, computed twice.

The second computation follows the document of the original's rules (3.5 and 3.6) step by step, with numpy,
from the rows of the original. It calls no code of ours.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import numpy as np
import pytest

from gaia.cli.database.original.plan import RULE_SET, Known, LeftOut, plan_of
from gaia.cli.database.original.reading import read_original
from gaia.cli.database.original.storing import store
from gaia.validator.core.weights.vector import registered
from gaia.validator.core.weights.window import inputs_of
from gaia.validator.db import journal
from gaia.validator.db.connection import Database
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.settings.weights import WeightsSettings
from tests.support.builders import a_metagraph, a_neuron
from tests.support.original import LEADS, Row, make_original
from tests.support.patience import patience
from tests.support.weight_setters import FakeCopies

DAYS, MINERS, BURN_UID = 15, 256, 252
NEWEST = datetime(2026, 3, 25, tzinfo=UTC)
WINDOW = timedelta(days=15)
BURNT, GAMMA = 0.75, 1.3


def neurons() -> Metagraph:
    """256 miners; two of them serve no axon."""
    return a_metagraph(
        [a_neuron(uid, ip="" if uid in (7, 8) else "127.0.1.1") for uid in range(MINERS)], own_uid=None
    )


def rows_of(days: int, spread: float) -> list[Row]:
    """Return what the original has of all miners; some days, leads and numbers are missing or no numbers."""
    chance = random.Random(57)
    skills = [0.9 - spread * uid / MINERS for uid in range(MINERS)]
    rows = []
    for age in range(days):
        init_time = NEWEST - timedelta(days=age)
        # The first lead is scored after six days, and one more each day.
        leads = list(LEADS)[: max(0, age - 5)]
        for uid in range(MINERS):
            day1 = chance.choice([None, 0.05, 0.1, 0.6])
            scores = {lead: min(1.0, max(0.0, chance.gauss(skills[uid], 0.05))) for lead in leads}
            overall = (
                min(1.0, 0.95 * sum(scores.values()) / 10 + 0.05 * ((day1 or 0.0) >= 0.1)) if leads else None
            )
            if chance.random() < 0.03:
                overall = chance.choice([math.nan, math.inf, -1.0])
            if chance.random() < 0.03:
                day1, scores, overall = None, {}, None
            hotkey = f"5Hotkey{uid:03d}"
            rows.append(
                Row(
                    run=100 - age,
                    init_time=init_time,
                    uid=uid,
                    hotkey=hotkey,
                    day1=day1,
                    leads=scores,
                    overall=overall,
                )
            )
    return rows


def expected_weights(rows: Sequence[Row], *, without_ip: Sequence[int]) -> dict[int, float]:
    """Return uid -> weight by the document of the original's rules."""
    # 3.5: one row a run with a value for each uid.
    runs = sorted({row.init_time for row in rows})
    matrix = np.zeros((len(runs), MINERS))
    for row in rows:
        value = row.overall
        if value is None:
            value = 0.05 if row.day1 is not None and row.day1 >= 0.1 else 0.0
        is_number = math.isfinite(value) and 0.0 <= value <= 1.0
        matrix[runs.index(row.init_time), row.uid] = value if is_number else 0.0
    for values in matrix:
        best = values.max()
        winners = values == best
        if best >= 0.7 and winners.sum() <= 2:
            values[winners] += 0.05 / winners.sum()
    matrix = np.clip(matrix, 0.0, 1.1)
    # 3.6: the plain mean, a generalised logistic, the burn.
    means = matrix.mean(axis=0)
    means[list(without_ip)] = 0.0
    uids = np.flatnonzero(means > 0)
    x = means[uids] / means[uids].max()
    unique = np.unique(x)
    middle = np.percentile(unique if len(unique) >= 3 else x, 80)
    w = 0.98 / (1.0 + 8.0 * np.exp(-70.0 * (x - middle))) ** (1.0 / 0.3) + 0.01 * x
    if w.std() / w.mean() < 0.03:
        w = w * x**GAMMA
    w = (1.0 - BURNT) * w / w.sum()
    weights = dict(zip(uids.tolist(), w.tolist(), strict=True))
    weights[BURN_UID] = weights.get(BURN_UID, 0.0) + BURNT
    return weights


@pytest.fixture
async def original_dsn(postgres_dsn: str) -> AsyncIterator[str]:
    """URL of an empty database for the original."""
    name = f"original_{uuid.uuid4().hex[:12]}"
    administrator = await asyncpg.connect(postgres_dsn)
    await administrator.execute(f"CREATE DATABASE {name}")
    yield urlsplit(postgres_dsn)._replace(path=f"/{name}").geturl()
    await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await administrator.close()


async def take_over(url: str, database: Database, metagraph: Metagraph) -> Mapping[LeftOut, int]:
    """Take everything over; return why rows are left out."""
    scores = await read_original(url, ours=None, window=WINDOW, timeout_s=patience(20))
    known = Known(
        own=(),
        imported=(),
        opening=(),
        registered={(each.uid, each.hotkey): each.registered_at for each in metagraph.neurons},
        now=NEWEST + timedelta(days=1),
    )
    plan = plan_of(scores, known)
    async with database.transaction() as connection:
        await store(connection, plan.runs)
    assert sum(plan.left_out.values()) + sum(len(run.forecasts) for run in plan.runs) == len(scores)
    return plan.left_out


async def weights_of(database: Database, metagraph: Metagraph) -> dict[int, float]:
    """Return the weights that the validator would set now."""
    settings = WeightsSettings(burn_hotkey=f"5Hotkey{BURN_UID}", burn_fraction=BURNT, contrast_gamma=GAMMA)
    async with database.reading() as connection:
        scores = await journal.window_scores(connection, RULE_SET, WINDOW)
    inputs = await inputs_of(scores, metagraph, registered(metagraph), settings, FakeCopies())
    return inputs.weights() or {}


@pytest.mark.parametrize("spread", [0.5, 0.01])
async def test_weights_after_the_import_are_the_originals(
    database: Database, original_dsn: str, spread: float
) -> None:
    rows = rows_of(DAYS, spread)
    await make_original(original_dsn, rows)

    left_out = await take_over(original_dsn, database, neurons())

    weights = await weights_of(database, neurons())
    expected = expected_weights(rows, without_ip=(7, 8))
    assert left_out.keys() == {LeftOut.NO_SCORE, LeftOut.NO_NUMBER}
    assert weights.keys() == expected.keys()
    assert max(abs(weights[uid] - weight) for uid, weight in expected.items()) < 1e-9
    assert len(expected) > 200
    assert len(set(expected.values())) > 100


async def test_only_the_days_of_the_window_go_over(database: Database, original_dsn: str) -> None:
    await make_original(original_dsn, rows_of(DAYS + 3, 0.5))

    await take_over(original_dsn, database, neurons())

    async with database.reading() as connection:
        days = await connection.fetchval("SELECT array_agg(init_time ORDER BY init_time DESC) FROM runs")
    assert days == [NEWEST - timedelta(days=age) for age in range(DAYS)]
