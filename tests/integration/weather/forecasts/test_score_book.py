"""A score is recorded in few statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import asyncpg
import pytest

from gaia.tasks.defined_tasks.weather.forecasts.score_book import ScoreBook
from tests.support.story import Story

_sent: ContextVar[list[str] | None] = ContextVar("sent", default=None)


@pytest.fixture
def statements(monkeypatch):
    """Statements of each call of the score book, by the method called; those that begin and commit are left out."""
    calls: dict[str, list[list[str]]] = defaultdict(list)

    def noting(method: Callable[..., Any]) -> Callable[..., Any]:
        async def noted(connection, query, *args, **options):
            sent = _sent.get()
            if sent is not None and query not in ("BEGIN;", "COMMIT;"):
                sent.append(query)
            return await method(connection, query, *args, **options)

        return noted

    def collecting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        async def collected(book, *args, **options):
            sent: list[str] = []
            token = _sent.set(sent)
            try:
                return await method(book, *args, **options)
            finally:
                _sent.reset(token)
                calls[name].append(sent)

        return collected

    for name in ("execute", "executemany", "fetch", "fetchrow", "fetchval"):
        monkeypatch.setattr(asyncpg.Connection, name, noting(getattr(asyncpg.Connection, name)))
    for name in ("record", "forfeit", "close"):
        monkeypatch.setattr(ScoreBook, name, collecting(name, getattr(ScoreBook, name)))
    return calls


async def test_score_is_recorded_in_seven_statements_and_a_runs_first_in_eight(
    database, tmp_path, statements
):
    story = Story(database, tmp_path)
    story.miners[0].offline_leads = {24}
    story.miners[1].bad_leads = {48}

    await story.until_idle()

    # Scores that are recorded at once may each find that the run has no contract yet.
    assert {len(sent) for sent in statements["record"]} == {7, 8}
    assert [len(sent) for sent in statements["forfeit"]] == [5]
    assert [len(sent) for sent in statements["close"]] == [4]
