"""The scores of an original validator go over once, whole and counted, or one sentence says why not."""

from __future__ import annotations

import asyncio
import json
import math
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from gaia.cli.__main__ import main
from gaia.localnet.chain.node import ChainNeuron, LocalChain
from gaia.localnet.wallets import keypair, miner_uri
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.db.schema.migrating import Migrator
from gaia.validator.utils.errors import ExitCode
from tests.support.original import Row, make_original
from tests.support.patience import patience

MINERS = [str(keypair(miner_uri(number)).ss58_address) for number in range(3)]
GONE = str(keypair("//Gone").ss58_address)
NEWEST = datetime(2026, 3, 25, tzinfo=UTC)
DAYS = 4
RUN = (
    "INSERT INTO runs (run_id, init_time, rule_set, opened_at)"
    " VALUES ('2026-03-24T00Z', '2026-03-24', 'gaia-2.9', '2026-03-24')"
)
NEWER = (
    "INSERT INTO runs (run_id, init_time, rule_set, opened_at) VALUES ('n', '2026-05-24', 'gaia-2.9', '2026-05-24')",
    (
        "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at)"
        " VALUES ('n', '5Miner', 1, 0, '2026-05-24', '2026-05-24', '2026-05-24')"
    ),
    (
        "INSERT INTO score_table (run_id, hotkey, rule_set, leads, overall, counted, updated_at)"
        " VALUES ('n', '5Miner', 'gaia-2.9', '{}', 0.5, true, '2026-05-25')"
    ),
)
Gaia = Callable[..., Awaitable[tuple[int, str, str]]]


def rows() -> list[Row]:
    """Three miners on four days; a fourth has left, and one number of the newest day is none."""
    found = []
    for age in range(DAYS):
        at = NEWEST - timedelta(days=age)
        for uid, hotkey in enumerate([*MINERS, GONE]):
            is_bad = (age, uid) == (0, 2)
            overall = math.nan if is_bad else 0.0625 * (uid + 1)
            found.append(
                Row(run=50 - age, init_time=at, uid=uid, hotkey=hotkey, leads={24: 0.5}, overall=overall)
            )
    return found


async def execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@pytest.fixture
async def original(postgres_dsn: str) -> AsyncIterator[str]:
    """URL of a database of the original."""
    name = f"original_{uuid.uuid4().hex[:12]}"
    await execute(postgres_dsn, f"CREATE DATABASE {name}")
    dsn = urlsplit(postgres_dsn)._replace(path=f"/{name}").geturl()
    await make_original(dsn, rows())
    yield dsn
    await execute(postgres_dsn, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def ours(empty_dsn: str) -> str:
    """URL of our database, with the schema and nothing else; no session of a validator is in it."""
    database = await Database.connect(empty_dsn, timeout_s=patience(10), pool_size=1)
    await run_comprehensive_database_setup(database)
    await database.close()
    return empty_dsn


@pytest.fixture
async def gaia(
    ours: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Gaia]:
    """Run a command beside a chain that has registered the miners."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    neurons = [
        ChainNeuron(hotkey=each, coldkey=each, ip="127.0.0.2", port=8091, stake=0.0, validator_permit=False)
        for each in MINERS
    ]
    chain = LocalChain(neurons, block_time_s=min(patience(0.25), 1.0))
    endpoint = await chain.start()
    await chain.wait_for_block(1)
    for name, value in {"DATABASE_URL": ours, "DATA_DIR": "data", "CHAIN_ENDPOINT": endpoint}.items():
        monkeypatch.setenv(f"GAIA_{name}", value)

    async def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(main, list(words))
        said = capsys.readouterr()
        return code, said.out, said.err

    yield run
    await chain.stop()


async def test_scores_go_over_when_told_and_once(gaia: Gaia, ours: str, original: str) -> None:
    code, said, _ = await gaia("db", "import-original", original)
    assert code == 0
    assert said.endswith(
        "4 days, 4 runs, 3 miners, 11 scores with the sum 1.312500: would be taken over; add --yes\n"
    )
    assert "left out: 4 scores, because the hotkey is not registered with that uid any more" in said
    assert "left out: 1 score, because the score is no number from 0 to 1" in said
    assert (await gaia("runs", "--json"))[1] == "[]\n"

    code, said, _ = await gaia("db", "import-original", original, "--yes", "--json")
    found = json.loads(said)
    assert (code, found["is_done"], found["days"], found["scores"], found["total"]) == (
        0,
        True,
        4,
        11,
        1.3125,
    )
    assert [(run["run_id"], run["imported_from"], run["miners"]) for run in found["runs"]] == [
        ("2026-03-22T00Z", "original run 47", 3),
        ("2026-03-23T00Z", "original run 48", 3),
        ("2026-03-24T00Z", "original run 49", 3),
        ("2026-03-25T00Z", "original run 50", 2),
    ]
    assert found["left_out"] == {"no_number": 1, "not_registered": 4}

    code, said, _ = await gaia("db", "import-original", original, "--yes")
    assert (code, said.splitlines()[-1]) == (0, "Everything is there already.")

    # What was imported is whole, is said to be imported, and outlives a rollback.
    assert "4 runs imported from the original validator" in (await gaia("db", "verify"))[1]
    code, said, _ = await gaia("replay", "all")
    assert (code, said.splitlines()[0]) == (
        0,
        "2026-03-22T00Z  imported from original run 47; it cannot be computed anew",
    )
    assert "imported   from original run 50" in (await gaia("runs", "show", "last"))[1]
    await _roll_back_and_return(ours)
    code, said, _ = await gaia("db", "verify", "--json")
    assert (code, json.loads(said)["imported_runs"]) == (0, 4)
    assert "Everything is there already." in (await gaia("db", "import-original", original))[1]


async def _roll_back_and_return(dsn: str) -> None:
    """Take the migration back that knows imported runs, write as an earlier release could, and apply it again."""
    database = await Database.connect(dsn, timeout_s=patience(10), pool_size=1)
    steps = await Migrator(database, patience(60)).roll_back(15)
    assert "imported_runs" in {step.name for step in steps}
    async with database.transaction() as connection:
        assert await connection.fetchval("SELECT count(*) FROM forecasts WHERE manifest IS NULL") == 0
    await run_comprehensive_database_setup(database)
    await database.close()


async def test_run_of_our_own_stays_and_is_counted(gaia: Gaia, ours: str, original: str) -> None:
    await execute(ours, RUN)

    code, said, _ = await gaia("db", "import-original", original, "--yes", "--json")

    found = json.loads(said)
    assert (code, len(found["runs"]), found["left_out"]["own_run"]) == (0, 3, 4)
    (own,) = [
        run for run in json.loads((await gaia("runs", "--json"))[1]) if run["run_id"] == "2026-03-24T00Z"
    ]
    assert (own["state"], own["imported_from"]) == ("open", None)


async def test_nothing_is_written_while_a_validator_uses_the_database(
    gaia: Gaia, ours: str, original: str
) -> None:
    beside = await Database.connect(ours, timeout_s=patience(10), pool_size=1)
    try:
        code, _, said = await gaia("db", "import-original", original, "--yes")
    finally:
        await beside.close()

    assert (code, said.partition(" (")[0]) == (1, "a validator uses the database")
    assert (await gaia("runs", "--json"))[1] == "[]\n"


@pytest.mark.parametrize(
    ("of_original", "of_ours", "told"),
    [
        (
            ("DROP TABLE weather_forecast_stats",),
            (),
            (
                "this is no database of the original validator: it lacks weather_forecast_stats;"
                " name the original's database"
            ),
        ),
        (
            ("ALTER TABLE weather_forecast_stats DROP COLUMN era5_score_48h",),
            (),
            (
                "this is of a release of the original that is not known: weather_forecast_stats lacks era5_score_48h;"
                " bring the original up to"
            ),
        ),
        (("DELETE FROM weather_forecast_stats",), (), "the database holds no scores; nothing needs"),
        (
            (),
            NEWER,
            "the newest scores are of 2026-03-25, and the 15 days up to our newest run, of 2026-05-24, count",
        ),
    ],
)
async def test_database_that_does_not_fit_is_one_sentence(
    gaia: Gaia,
    ours: str,
    original: str,
    of_original: tuple[str, ...],
    of_ours: tuple[str, ...],
    told: str,
) -> None:
    await execute(original, *of_original)
    await execute(ours, *of_ours)

    code, _, said = await gaia("db", "import-original", original, "--yes")

    assert code == ExitCode.DATABASE_MISFIT
    assert said.startswith(f"URL: {told}")
    assert said.count("\n") == 1


async def test_what_cannot_be_read_or_would_not_count_is_one_sentence(
    gaia: Gaia, ours: str, original: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAIA_DATABASE_TIMEOUT_S", "0.5")
    for url, code, told in (
        ("sqlite://file", ExitCode.BAD_SETTING, "URL: it is not a PostgreSQL URL; write postgresql://"),
        (
            "postgresql://me:hidden-word-57@127.0.0.1:1/none",
            ExitCode.DATABASE_UNREACHABLE,
            "URL: the database cannot be reached (",
        ),
    ):
        found, _, said = await gaia("db", "import-original", url)
        assert found == code
        assert said.startswith(told)
        assert "hidden-word" not in said

    monkeypatch.setenv("GAIA_RULE_SET", "gaia-next")
    found, _, said = await gaia("db", "import-original", original)
    assert (found, said.partition(":")[0]) == (ExitCode.BAD_SETTING, "GAIA_RULE_SET")
    monkeypatch.delenv("GAIA_RULE_SET")

    await execute(ours, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    found, _, said = await gaia("db", "import-original", original)
    assert found == ExitCode.DATABASE_MISFIT
    assert "apply them with `gaia db migrate`" in said
