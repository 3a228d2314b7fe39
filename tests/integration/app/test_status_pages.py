"""The pages that the IO-Engine serves: read seldom, by a thread, and never at a request's expense."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import pytest

from gaia.validator.app.io_engine import IOEngine
from gaia.validator.app.observation.pages import served
from gaia.validator.app.observation.pages.served import StatusPages
from gaia.validator.app.observation.probes import Endpoints
from gaia.validator.app.observation.serving import Answer, Request, ServingThread
from gaia.validator.db.connection import Database
from gaia.validator.utils.config import Settings
from tests.support.patience import Deadline, patience
from tests.support.scored_run import record_scored_run
from tests.support.site_pages import read

AWAY = "postgresql://nobody:canary@127.0.0.1:1/nothing"


def settings_for(dsn: str, data_dir: Path, **changes: object) -> Settings:
    values = {"data_dir": data_dir, "database_url": dsn, "database_timeout_s": patience(5)}
    return Settings.model_validate(values | changes)


def readers() -> list[str]:
    """Return the threads that read the database for pages."""
    return [thread.name for thread in threading.enumerate() if thread.name == "status-pages"]


async def answered(pages: StatusPages, path: str = "/") -> Answer:
    """Return the answer once the pages are prepared."""
    deadline = Deadline(30)
    while not deadline.has_passed:
        answer = pages.answer(path)
        assert answer is not None
        if answer.status is HTTPStatus.OK:
            return answer
        assert "are being prepared" in read(answer.body).text
        await asyncio.sleep(0.02)
    raise AssertionError("the pages are never prepared")


async def test_first_request_is_answered_at_once_and_a_later_one_with_the_runs(
    database: Database, empty_dsn: str, tmp_path: Path
) -> None:
    await record_scored_run(database, datetime.now(UTC))
    pages = StatusPages(lambda: settings_for(empty_dsn, tmp_path).status)

    answer = await answered(pages)

    page = read(answer.body)
    assert "runs/r.html" in page.links
    assert answer.content_type == "text/html; charset=utf-8"
    run = pages.answer("/runs/r.html")
    assert run is not None
    assert "0.6000" in read(run.body).text
    data = pages.answer("/data/leaderboard.json")
    assert data is not None
    assert data.content_type == "application/json"
    assert pages.answer("/runs/none.html") is None
    assert pages.answer("/../etc/passwd") is None


async def test_requests_between_two_readings_ask_the_database_nothing(
    database: Database, empty_dsn: str, tmp_path: Path
) -> None:
    pages = StatusPages(lambda: settings_for(empty_dsn, tmp_path).status)
    first = await answered(pages)
    await record_scored_run(database, datetime.now(UTC))
    async with asyncio.timeout(patience(10)):
        while readers():
            await asyncio.sleep(0.01)

    for _ in range(50):
        again = pages.answer("/")
        assert again is not None
        assert again.body == first.body
        assert readers() == []


@pytest.mark.parametrize(("whole_every_s", "shown"), [(3600.0, "0.6000"), (0.0, "0.1000")])
async def test_completed_run_is_read_again_only_at_the_next_whole_reading(
    database: Database,
    empty_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole_every_s: float,
    shown: str,
) -> None:
    monkeypatch.setattr(served, "REFRESH_S", 0.0)
    monkeypatch.setattr(served, "_WHOLE_EVERY_S", whole_every_s)
    await record_scored_run(database, datetime.now(UTC))
    pages = StatusPages(lambda: settings_for(empty_dsn, tmp_path).status)
    await answered(pages)
    async with database.transaction() as connection:
        await connection.execute("UPDATE score_table SET overall = 0.1 WHERE overall = 0.6")

    for _ in range(3):  # the reading that is under way, the next, and the one that is shown
        async with asyncio.timeout(patience(10)):
            while readers():
                await asyncio.sleep(0.01)
        page = await answered(pages, "/runs/r.html")

    assert shown in read(page.body).text


async def test_database_that_goes_away_leaves_the_runs_and_is_named(
    database: Database, empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "REFRESH_S", 0.0)
    await record_scored_run(database, datetime.now(UTC))
    dsn = empty_dsn
    pages = StatusPages(lambda: settings_for(dsn, tmp_path, database_timeout_s=1.0).status)
    await answered(pages)

    dsn = AWAY
    deadline = Deadline(30)
    while "The database could not be read" not in (text := read((await answered(pages)).body).text):
        assert not deadline.has_passed
        await asyncio.sleep(0.05)

    assert "canary" not in text
    assert "runs/r.html" in read((await answered(pages)).body).links


async def test_troubles_are_served_on_this_machine_only(tmp_path: Path) -> None:
    pages = {
        host: StatusPages(
            lambda host=host: settings_for(AWAY, tmp_path, metrics_host=host, database_timeout_s=0.2).status  # type: ignore[misc]
        )
        for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0")
    }
    shown = {host: read((await answered(one)).body).text for host, one in pages.items()}

    assert {host for host, text in shown.items() if "What is wrong" in text} == {
        "127.0.0.1",
        "::1",
        "localhost",
    }
    assert "the validator does not run" not in shown["0.0.0.0"]


async def test_pages_are_answered_beside_the_probes(tmp_path: Path) -> None:
    pages = StatusPages(lambda: settings_for(AWAY, tmp_path, database_timeout_s=0.2).status)
    endpoints = Endpoints(role="io_engine", probes={}, metrics=lambda: b"up 1\n", pages=pages.answer)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = ServingThread(listener, endpoints.answer)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def get(path: str) -> tuple[int, bytes]:
            try:
                with urllib.request.urlopen(url + path, timeout=patience(10)) as response:
                    return response.status, response.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()

        assert await asyncio.to_thread(get, "/metrics") == (200, b"up 1\n")
        assert (await asyncio.to_thread(get, "/"))[0] == 503
        await answered(pages)
        code, body = await asyncio.to_thread(get, "/")
        assert code == 200
        assert "The database could not be read" in read(body).text
        assert (await asyncio.to_thread(get, "/nothing"))[0] == 404
        serving.stop()


async def test_engine_has_the_pages_of_its_database_at_its_endpoints(
    database: Database, empty_dsn: str, tmp_path: Path
) -> None:
    await record_scored_run(database, datetime.now(UTC))
    with socket.socket() as pool:
        settings = settings_for(empty_dsn, tmp_path)
        endpoints = IOEngine(settings, pool, "", tmp_path / "board").endpoints()

        deadline = Deadline(30)
        while (answer := endpoints.answer(Request("/runs/r.html", is_verbose=False))) is not None:
            if answer.status is HTTPStatus.OK:
                break
            assert not deadline.has_passed
            await asyncio.sleep(0.02)
        assert answer is not None
        assert "0.6000" in read(answer.body).text
