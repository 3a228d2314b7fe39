"""A score is recorded in few statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gaia.tasks.defined_tasks.weather.forecasts.score_book import ScoreBook
from gaia.validator.db.connection import Database
from tests.support.story import Story

Calls = dict[str, list[list[str]]]
_sent: ContextVar[list[str] | None] = ContextVar("sent", default=None)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Statements of each call of the score book, by the method called; those that begin and commit are left out."""
    calls: Calls = defaultdict(list)

    def noting(method: Callable[..., Any]) -> Callable[..., Any]:
        async def noted(connection: Any, query: str, *args: Any, **options: Any) -> Any:
            sent = _sent.get()
            if sent is not None and query not in ("BEGIN;", "COMMIT;"):
                sent.append(query)
            return await method(connection, query, *args, **options)

        return noted

    def collecting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        async def collected(book: ScoreBook, *args: Any, **options: Any) -> Any:
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
    database: Database, tmp_path: Path, statements: Calls
) -> None:
    story = Story(database, tmp_path)
    story.miners[0].offline_leads = {24}
    story.miners[1].bad_leads = {48}

    await story.until_idle()

    # Scores that are recorded at once may each find that the run has no contract yet.
    assert {len(sent) for sent in statements["record"]} == {7, 8}
    assert [len(sent) for sent in statements["forfeit"]] == [5]
    assert [len(sent) for sent in statements["close"]] == [4]
