"""Measures the database load of an idle tick, and that of a tick that reads every manifest."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import logging
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.database_parts.queries import Slowest, slowest_of, timed
from benchmarks.database_parts.scores import put_scores

ROOT = Path(__file__).resolve().parents[2]
if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.task import WeatherTask
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.db.queries import Forecast

INIT = datetime(2026, 3, 1, tzinfo=UTC)
MANIFEST_BYTES = 221_399
"""Size of an honest manifest with 69 fields and 40 steps."""
MOST_QUERY_MS, MOST_READ_BYTES = 50.0, 2**20
"""Bars of an idle tick: its slowest statement, and all that the server answers."""
SCORED_LEADS = (24, 48, 72, 96, 120)
BEFORE = (
    "SELECT run_id, hotkey, uid, registered_at, state, opened_at, attempts, next_at, job_id, manifest_sha256,"
    " window_ends_at, manifest FROM forecasts WHERE run_id = $1 AND state = ANY($2::text[]) AND next_at <= $3 ORDER BY hotkey"
)


class Plan(NamedTuple):
    runs: int
    miners: int
    rounds: int


FULL = Plan(runs=4, miners=256, rounds=5)
QUICK = Plan(runs=4, miners=8, rounds=2)

Samples = dict[str, list[float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--miners", type=int, help=f"{FULL.miners} unless --quick")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; return {"ratios", "figures", "violations"}; ratios are medians over the rounds.

    Database time is the server's active_time of pg_stat_database. It includes the sending of
    answers, so other work on the machine makes it longer.

    The slowest query is the longest single statement of all idle ticks but the first. The driver measures it, from the
    request to the last row. Bytes are those that a relay before the server's socket forwards to the client. Above
    50 ms or 1 MiB they are violations, unless --quick.
    """
    sys.path.insert(0, str(ROOT))
    silence()
    plan = QUICK if arguments.quick else FULL
    plan = plan._replace(miners=arguments.miners or plan.miners)
    with tempfile.TemporaryDirectory(prefix="gaia-bench-") as folder, server(Path(folder)) as dsn:
        samples, slowest = asyncio.run(measure(Path(folder), dsn, plan))
    most_bytes = max(samples["bytes_now"])
    figures = {name: round(statistics.median(found), 3) for name, found in samples.items()}
    return {
        "ratios": {
            f"{what}_before_vs_now": round(
                statistics.median(
                    one / two
                    for one, two in zip(samples[f"{what}_before"], samples[f"{what}_now"], strict=True)
                ),
                2,
            )
            for what in ("database_ms", "bytes", "tick_cpu_ms")
        },
        "figures": figures
        | {"runs": plan.runs, "miners": plan.miners, "manifest_bytes": MANIFEST_BYTES}
        | {"slowest_query": slowest.name, "slowest_query_ms": round(slowest.ms, 3)}
        | {"most_bytes_read_by_an_idle_tick": round(most_bytes)},
        "violations": [] if arguments.quick else violations_of(slowest, most_bytes),
    }


def violations_of(slowest: Slowest, most_bytes: float) -> list[str]:
    """Return a sentence for each bar of an idle tick that is missed."""
    late = [f"query {slowest.name} took {slowest.ms:.1f} ms, at most {MOST_QUERY_MS:g}"]
    large = [f"an idle tick read {most_bytes:.0f} bytes, at most {MOST_READ_BYTES}"]
    return (late if slowest.ms > MOST_QUERY_MS else []) + (large if most_bytes > MOST_READ_BYTES else [])


def silence() -> None:
    """Suppress the validator's log."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run an embedded PostgreSQL server; yield its URL."""
    from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres, embedded_dsn

    postgres = EmbeddedPostgres(folder)
    postgres.prepare()
    process = postgres.start()
    try:
        while not postgres.is_ready():
            if process.poll() is not None:
                raise RuntimeError((folder / "postgres" / "postgres.log").read_text())
            time.sleep(0.05)
        yield embedded_dsn(folder)
    finally:
        process.terminate()
        process.wait(30)


async def measure(folder: Path, dsn: str, plan: Plan) -> tuple[Samples, Slowest]:
    from gaia.validator.db import queries

    now = INIT + timedelta(days=plan.runs, hours=12)
    samples: Samples = defaultdict(list)
    slowest = Slowest("", 0.0)
    async with relay(dsn) as (relayed, counter):
        async with connected(dsn) as database:
            await fill(database, plan)
            await fill_scores(database, plan)
        ways: Mapping[str, Callable[..., Awaitable[list[Forecast]]]] = {
            "before": with_manifests,
            "now": queries.due_forecasts,
        }
        for number in range(plan.rounds + 1):
            for way, due in ways.items():
                vars(queries)["due_forecasts"] = due
                figures, found = await one_tick(folder, dsn, relayed, counter, now)
                if number:  # the first round warms the server's memory
                    for name, value in figures.items():
                        samples[f"{name}_{way}"].append(value)
                if number and way == "now":
                    slowest = max(slowest, found, key=lambda each: each.ms)
    return samples, slowest


async def one_tick(
    folder: Path, dsn: str, relayed: str, counter: list[int], now: datetime
) -> tuple[dict[str, float], Slowest]:
    """Advance the weather task once while nothing is due; return the costs, and its slowest statement."""
    before = await server_time(dsn)
    counter.clear()
    async with connected(relayed) as database, timed(database) as statements:
        task = idle_task(folder, database)
        connecting = sum(counter)
        cpu = time.process_time()
        await task.advance(now)
        cpu = time.process_time() - cpu
        answered = sum(counter) - connecting
    return {
        "database_ms": await server_time(dsn) - before,
        "bytes": answered,
        "tick_cpu_ms": cpu * 1e3,
    }, slowest_of(statements)


def idle_task(folder: Path, database: Database) -> WeatherTask:
    """Return the task as the engine makes it, without miners and archives, which an idle tick does not need."""
    from gaia.tasks.defined_tasks.base import Archives
    from gaia.tasks.defined_tasks.weather.copies.copy_book import CopyBook
    from gaia.tasks.defined_tasks.weather.task import WeatherTask
    from gaia.validator.core.clock import RealClock
    from gaia.validator.utils.config import Settings

    nobody: Any = Nobody()
    archives = Archives(gfs=nobody, era5=nobody, climatology=nobody)
    settings = Settings(data_dir=folder, last_run=INIT)
    copies = CopyBook(settings.weather, database, nobody)
    return WeatherTask(
        settings.weather,
        database,
        miners=nobody,
        archives=archives,
        pool=nobody,
        metagraph=nobody,
        clock=RealClock(),
        copies=copies,
    )


class Nobody:
    """Stands in for miners and archives; it knows no miners, and raises for anything else."""

    def latest(self) -> None:
        return None


async def with_manifests(
    connection: Connection, run_id: str, states: Sequence[str], now: datetime
) -> list[Forecast]:
    """Return due forecasts with a query that also reads the manifests."""
    from gaia.validator.db.queries import Forecast

    rows = [dict(row) for row in await connection.fetch(BEFORE, run_id, list(states), now)]
    for row in rows:
        row.pop("manifest")
    return [Forecast(**row) for row in rows]


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Database]:
    from gaia.validator.db.connection import Database

    database = await Database.connect(dsn, timeout_s=120, pool_size=2)
    try:
        yield database
    finally:
        await database.close()


async def fill(database: Database, plan: Plan) -> None:
    """Store runs with frozen manifests and half of their leads scored."""
    from gaia.tasks.defined_tasks.weather.schedule import run_id_of
    from gaia.validator.core.database_setup import run_comprehensive_database_setup
    from gaia.validator.db import queries
    from gaia.validator.db.queries import Run

    await run_comprehensive_database_setup(database)
    for day in range(plan.runs):
        opened = INIT + timedelta(days=day, hours=18)
        run = Run(
            run_id=run_id_of(opened.replace(hour=0)),
            init_time=opened.replace(hour=0),
            rule_set="gaia-2.9",
            opened_at=opened,
        )
        miners = [(f"5{number:047d}", number, number) for number in range(plan.miners)]
        async with database.transaction() as connection:
            await queries.open_run(connection, run, miners)
        for hotkey, _, _ in miners:
            async with database.transaction() as connection:
                # The guards would want each state in turn.
                await connection.execute("SET LOCAL session_replication_role = replica")
                await connection.execute(
                    "UPDATE forecasts SET state = 'scored_day1', manifest = $3, manifest_sha256 = 'x',"
                    " signature = '\\x00', committed_at = opened_at WHERE run_id = $1 AND hotkey = $2",
                    run.run_id,
                    hotkey,
                    a_manifest(f"{run.run_id}/{hotkey}"),
                )
                await connection.executemany(
                    "INSERT INTO lead_scores (run_id, hotkey, rule_set, kind, lead_hours, score, scored_at)"
                    " VALUES ($1, $2, 'gaia-2.9', 'final', $3, 0.5, now())",
                    [(run.run_id, hotkey, lead) for lead in SCORED_LEADS],
                )
    async with database.transaction() as connection:
        await connection.execute("ANALYZE")


async def fill_scores(database: Database, plan: Plan) -> None:
    """Store the scores of every field at every lead for all runs of `fill`."""
    async with database.alone("gaia-bench") as connection:
        for run in await connection.fetch("SELECT run_id, opened_at FROM runs"):
            hotkeys = [f"5{number:047d}" for number in range(plan.miners)]
            await put_scores(connection, run["run_id"], run["opened_at"], hotkeys)
        await connection.execute("ANALYZE")


def a_manifest(name: str) -> bytes:
    """Return a manifest of `MANIFEST_BYTES` with random digests."""
    files, size, number = {}, 0, 0
    while size < MANIFEST_BYTES - 200:
        path = f"field_{number % 69}/{number // 69}.0.0"
        files[path] = hashlib.sha256(f"{name}/{path}".encode()).hexdigest()
        size += len(path) + 70
        number += 1
    return json.dumps({"files": files}, separators=(",", ":")).encode().ljust(MANIFEST_BYTES)[:MANIFEST_BYTES]


async def server_time(dsn: str) -> float:
    """Return the milliseconds of server work, for connections that have ended.

    A backend reports its statistics when it ends, so they are final once no client is connected.
    """
    import asyncpg

    administrator = await asyncpg.connect(dsn.replace("/postgres?", "/template1?"))
    try:
        while await administrator.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'postgres'"
        ):
            await asyncio.sleep(0.02)
        return float(
            await administrator.fetchval(
                "SELECT active_time FROM pg_stat_database WHERE datname = 'postgres'"
            )
        )
    finally:
        await administrator.close()


@asynccontextmanager
async def relay(dsn: str) -> AsyncIterator[tuple[str, list[int]]]:
    """Yield a URL that forwards to `dsn`, and a list that collects the sizes of the answers."""
    target, counted = dsn.partition("host=")[2], list[int]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(f"{target}/.s.PGSQL.5432")
        await asyncio.gather(pump(reader, up_writer, []), pump(up_reader, writer, counted))

    with tempfile.TemporaryDirectory(prefix="gaia-relay-") as folder:
        listening = await asyncio.start_unix_server(serve, f"{folder}/.s.PGSQL.5432")
        yield dsn.replace(target, folder), counted
        listening.close()


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, counted: list[int]) -> None:
    while piece := await source.read(65_536):
        counted.append(len(piece))
        sink.write(piece)
        await sink.drain()
    sink.close()
