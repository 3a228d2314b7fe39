"""The IO-Engine's probes: each check fails for its own fault, and a stuck loop is answered too."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from gaia.tasks.defined_tasks.base import GaiaTask
from gaia.validator.app.observation import engine_health
from gaia.validator.app.observation.engine_health import EngineHealth, Trials, watched
from gaia.validator.app.observation.probes import LIVE, READY, STARTED, Check, Endpoints
from gaia.validator.app.observation.serving import ServingThread
from gaia.validator.db.access.lease import Lease
from gaia.validator.db.connection import Database
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.utils.errors import OwnFailure, TransientError
from tests.support.patience import patience

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def health() -> EngineHealth:
    return EngineHealth(tick_interval_s=5.0, metagraph_interval_s=300.0, chain_timeout_s=60.0)


@pytest.fixture
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_health, "_BEAT_S", 0.01)
    monkeypatch.setattr(engine_health, "_ASK_DATABASE_S", 0.01)
    monkeypatch.setattr(engine_health, "_ASK_AGAIN_S", 0.01)


class _Task(GaiaTask):
    name = "a task"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.is_closed = False

    async def advance(self, now: datetime) -> datetime | None:
        if self.error is not None:
            raise self.error
        return now

    async def close(self) -> None:
        self.is_closed = True


class _Lease(Lease):
    """A lease that is ours, until a test gives it to another validator."""

    def __init__(self) -> None:
        self.holder, self._ends_at = "this:/data", float("inf")

    def ends_at(self) -> float:
        return self._ends_at

    def pass_to(self, holder: str) -> None:
        self.holder, self._ends_at = holder, 0.0


class _Source:
    error: Exception | None = None

    async def read_metagraph(self) -> Any:
        if self.error is not None:
            raise self.error
        return "a metagraph"


class _Server(Database):
    """Answers with the migrations it has, or fails."""

    def __init__(self, missing: int = 0) -> None:
        self.missing = missing
        self.error: Exception | None = None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        if self.error is not None:
            raise self.error
        kept = read_migrations()[: len(read_migrations()) - self.missing]

        async def fetch(_: str) -> list[tuple[int, str, str]]:
            return [(migration.version, migration.name, migration.sha256) for migration in kept]

        yield SimpleNamespace(fetch=fetch)


def checks(health: EngineHealth, path: str = READY) -> dict[str, Check]:
    return {check.name: check for check in health.probes()[path]()}


def failing(health: EngineHealth) -> set[str]:
    return {name for name, check in checks(health).items() if not check.is_well}


async def wait_for(condition: Any) -> None:
    async with asyncio.timeout(patience(10)):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def all_well(health: EngineHealth, server: _Server) -> AsyncIterator[tuple[GaiaTask, Any]]:
    """Yield the watched task and source of an engine with nothing amiss."""
    health.pool = SimpleNamespace(healthy_seats=1)
    health.lease = _Lease()
    running = [asyncio.create_task(health.beat()), asyncio.create_task(health.ask(server))]
    task, source = health.watched_task(_Task()), health.watched_source(_Source())
    await task.advance(NOW)
    await source.read_metagraph()
    await wait_for(lambda: not failing(health))
    yield task, source
    for one in running:
        one.cancel()


def test_before_anything_was_done_nothing_is_ready_and_each_check_says_so(health: EngineHealth) -> None:
    assert failing(health) == {"database", "lease", "migrations", "chain", "compute_workers", "main_scoring"}
    assert all(check.fix for check in checks(health).values())
    assert not checks(health, STARTED)["first_metagraph"].is_well


@pytest.mark.usefixtures("_quickly")
async def test_engine_with_nothing_amiss_is_ready(health: EngineHealth) -> None:
    async with all_well(health, _Server()):
        assert failing(health) == set()


@pytest.mark.usefixtures("_quickly")
async def test_database_that_fails_is_named_until_it_answers_again(health: EngineHealth) -> None:
    server = _Server()
    async with all_well(health, server):
        server.error = OwnFailure("database: connection refused")
        await wait_for(lambda: failing(health) == {"database"})
        assert "connection refused (last done" in checks(health)["database"].reason

        server.error = None
        await wait_for(lambda: not failing(health))


@pytest.mark.usefixtures("_quickly")
async def test_schema_that_another_program_set_back_is_named(health: EngineHealth) -> None:
    server = _Server()
    async with all_well(health, server):
        server.missing = 1
        await wait_for(lambda: failing(health) == {"migrations"})

    assert checks(health)["migrations"].reason.startswith("1 migration is missing, such as")


@pytest.mark.usefixtures("_quickly")
async def test_standby_is_not_ready_and_says_who_is_active(health: EngineHealth) -> None:
    async with all_well(health, _Server()):
        assert isinstance(health.lease, _Lease)
        assert health.holds_lease
        health.lease.pass_to("other:/data")
        assert not health.holds_lease

        assert failing(health) == {"lease"}
        assert checks(health)["lease"].reason == "the lease of the database is held by other:/data"
        assert all(check.is_well for check in checks(health, LIVE).values())


@pytest.mark.usefixtures("_quickly")
async def test_chain_whose_last_reading_failed_is_named(health: EngineHealth) -> None:
    async with all_well(health, _Server()) as (_, source):
        source._source.error = TransientError("the node does not answer")
        with pytest.raises(TransientError):
            await source.read_metagraph()

        assert failing(health) == {"chain"}
        assert checks(health)["chain"].reason.startswith("the node does not answer")


async def test_database_that_failed_is_asked_again_before_the_next_regular_time(
    health: EngineHealth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_health, "_ASK_DATABASE_S", 3600.0)
    monkeypatch.setattr(engine_health, "_ASK_AGAIN_S", 0.01)
    server = _Server()
    server.error = OwnFailure("database: the database system is starting up")
    asking = asyncio.create_task(health.ask(server))
    await wait_for(lambda: "starting up" in checks(health)["database"].reason)

    server.error = None

    await wait_for(lambda: checks(health)["database"].is_well)
    asking.cancel()


@pytest.mark.usefixtures("_quickly")
async def test_tick_that_failed_is_named_and_its_error_raised(health: EngineHealth) -> None:
    async with all_well(health, _Server()):
        task = health.watched_task(_Task(KeyError("a bug")))
        with pytest.raises(KeyError):
            await task.advance(NOW)

        assert failing(health) == {"main_scoring"}


@pytest.mark.usefixtures("_quickly")
async def test_error_that_nobody_foresaw_fails_the_check_is_logged_and_ends_no_asking(
    health: EngineHealth,
) -> None:
    server = _Server()
    with capture_logs() as logs:
        async with all_well(health, server):
            server.error = KeyError("a bug")
            await wait_for(lambda: failing(health) == {"database"})
            server.error = None
            await wait_for(lambda: not failing(health))

    assert "health_check_failed" in [line["event"] for line in logs]


async def test_watching_that_ends_by_itself_is_logged_and_one_that_is_cancelled_is_not() -> None:
    async def end() -> None:
        raise KeyError("a bug")

    async def go_on() -> None:
        await asyncio.Event().wait()

    with capture_logs() as logs:
        ended, cancelled = watched(end(), "beat"), watched(go_on(), "ask")
        await asyncio.wait([ended])
        cancelled.cancel()
        await asyncio.wait([cancelled])
        await asyncio.sleep(0)

    assert [(line["event"], line["watching"]) for line in logs] == [("watching_ended", "beat")]


@pytest.mark.usefixtures("_quickly")
@pytest.mark.parametrize(
    ("count", "words"), [(1, "1 compute worker is healthy"), (2, "2 compute workers are healthy")]
)
async def test_healthy_workers_are_counted_in_words(count: int, words: str, health: EngineHealth) -> None:
    async with all_well(health, _Server()):
        health.pool = SimpleNamespace(healthy_seats=count)
        await wait_for(lambda: checks(health)["compute_workers"].reason == words)


@pytest.mark.usefixtures("_quickly")
async def test_engine_without_a_healthy_worker_is_not_ready(health: EngineHealth) -> None:
    async with all_well(health, _Server()):
        health.pool = SimpleNamespace(healthy_seats=0)
        await wait_for(lambda: failing(health) == {"compute_workers"})


async def test_watched_task_is_the_task(health: EngineHealth) -> None:
    inner = _Task()
    task = health.watched_task(inner)

    assert await task.advance(NOW) == NOW
    await task.close()

    assert (task.name, inner.is_closed) == ("a task", True)


def test_success_that_is_too_old_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = Trials()
    trials.succeeded()
    then = time.monotonic()

    assert trials.check("x", 60.0, "fix").is_well
    monkeypatch.setattr(time, "monotonic", lambda: then + 61.0)

    check = trials.check("x", 60.0, "fix")
    assert not check.is_well
    assert check.reason == "last done 61 s ago, expected within 60 s"


def test_started_once_the_first_metagraph_was_read(health: EngineHealth) -> None:
    health.has_started = True

    assert checks(health, STARTED)["first_metagraph"].is_well


@pytest.fixture
def served(health: EngineHealth) -> Iterator[str]:
    endpoints = Endpoints(role="io_engine", probes=health.probes(), metrics=lambda: b"")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = ServingThread(listener, endpoints.answer)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.stop()


async def test_stuck_event_loop_is_answered_and_named(
    health: EngineHealth, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_health, "LOOP_STUCK_AFTER_S", 0.2)
    beating = asyncio.create_task(health.beat())
    await asyncio.sleep(0)

    # Nothing else runs on the loop meanwhile: it is as stuck as it can be.
    time.sleep(0.5)  # noqa: ASYNC251 - the fault that is tested
    with pytest.raises(urllib.error.HTTPError) as raised:
        # Blocking, so that the loop stays stuck.
        urllib.request.urlopen(served + LIVE + "?verbose", timeout=patience(10))  # noqa: ASYNC210 - see above
    report = json.loads(raised.value.read())
    raised.value.close()

    assert raised.value.code == 503
    assert [check["name"] for check in report["checks"] if check["state"] == "failing"] == ["event_loop"]
    await asyncio.sleep(0.01)
    beating.cancel()
