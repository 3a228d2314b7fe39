"""What the engine knows of itself, from a real database that goes away and comes back."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.rendezvous import Board
from gaia.validator.app.observation.jobs import Jobs
from gaia.validator.app.observation.pages.insight import Insight, life_of
from gaia.validator.app.startup.preflight import claim_data_dir
from gaia.validator.core.background.book import TaskBook
from gaia.validator.core.background.notifier import Notifier
from gaia.validator.core.status.facts import Seats
from gaia.validator.core.status.troubles import troubles_of
from gaia.validator.db.connection import Database
from gaia.validator.utils.config import Settings
from gaia.validator.utils.messenger import Messenger
from gaia.validator.utils.settings.notify import NotifySettings
from tests.support.webhooks import Webhook, webhook

SEATS = Seats(healthy=0, wanted=0)
STOPPING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1
"""


@pytest.fixture
async def hook() -> AsyncIterator[Webhook]:
    async with webhook() as served:
        yield served


class Server:
    """The server of a database, which can turn everybody away from it."""

    def __init__(self, administrator: asyncpg.Connection, name: str) -> None:
        self._administrator = administrator
        self._name = name

    async def let_in(self, *, is_open: bool) -> None:
        await self._administrator.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS {is_open}")
        if not is_open:
            await self._administrator.fetch(STOPPING, self._name)


@pytest.fixture
async def server(postgres_dsn: str, empty_dsn: str) -> AsyncIterator[Server]:
    administrator = await asyncpg.connect(postgres_dsn)
    yield Server(administrator, urlsplit(empty_dsn).path.removeprefix("/"))
    await administrator.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    data_dir = tmp_path / "data"
    rendezvous.make_private(rendezvous.run_directory(data_dir))
    rendezvous.publish(
        Board(processes={"io_engine": os.getpid(), "chain_signer": os.getpid()}),
        rendezvous.board_path(data_dir),
    )
    return Settings(data_dir=data_dir, compute_workers=0, database_url=SecretStr("postgresql://elsewhere/x"))


async def test_facts_are_those_of_the_database_the_jobs_and_the_folder(
    database: Database, settings: Settings
) -> None:
    book = TaskBook(monotonic=iter([0.0, 99.0]).__next__)
    book.expect("tick", 10.0)
    jobs = Jobs()
    jobs.watch(book.statuses)
    lock = claim_data_dir(settings.data_dir)
    try:
        facts = await Insight(lambda: settings.status, database, jobs.facts, lambda: SEATS).facts()
    finally:
        os.close(lock)

    assert facts.work is not None
    assert facts.work.runs == 0
    assert facts.processes.is_running
    assert facts.disk is not None
    assert facts.seats == SEATS
    assert [trouble.key for trouble in troubles_of(facts) if trouble.subject == "tick"] == [
        "jobs/ValidatorTaskOverdue/tick"
    ]


async def test_database_that_goes_away_is_a_message_and_so_is_its_return(
    database: Database, server: Server, settings: Settings, hook: Webhook
) -> None:
    insight = Insight(lambda: settings.status, database, Jobs().facts, lambda: SEATS)
    notify = NotifySettings.model_validate({"notify_urls": [hook.address], "notify_least": "stuck"})
    notifier = Notifier(
        notify, settings.data_dir, insight.facts, Messenger([hook.address], "GAIA_NOTIFY_URLS"), "life"
    )
    lock = claim_data_dir(settings.data_dir)
    try:
        for is_open in (True, False, True):
            await server.let_in(is_open=is_open)
            assert [await notifier.notifier() for _ in range(3)] == [True] * 3
    finally:
        os.close(lock)

    told = [each["message"] for each in hook.posted if "database" in each["message"]]
    assert len(told) == 2
    assert told[0].startswith("stuck: the database cannot be read: ")
    assert told[0].endswith("gaia runbook ValidatorDatabaseFailures")
    assert told[1].startswith("over after ")


def test_life_of_a_process_stays_and_no_other_has_it() -> None:
    assert life_of(os.getpid()) == life_of(os.getpid())
    assert life_of(os.getpid()) != life_of(os.getppid())
