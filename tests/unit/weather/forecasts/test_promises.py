"""Frozen manifests are read when a lead is scored: few at a time, together, and for those who still wait."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from gaia.tasks.defined_tasks.weather.forecasts.promises import MOST_AT_ONCE, Promises
from gaia.validator.db.connection import Database
from gaia.validator.db.queries import Forecast
from gaia.validator.db.states import ForecastState
from gaia.validator.utils.errors import MinerFault, OwnFailure
from gaia.validator.utils.identities import Hotkey, RunId

MOMENT = datetime(2026, 3, 25, tzinfo=UTC)


def a_forecast(hotkey: str) -> Forecast:
    return Forecast(
        run_id=RunId("2026-03-25T00Z"),
        hotkey=Hotkey(hotkey),
        uid=1,
        registered_at=1,
        state=ForecastState.FROZEN,
        opened_at=MOMENT,
        attempts=0,
        next_at=MOMENT,
        job_id="job",
        manifest_sha256="x",
        window_ends_at=None,
    )


def digest(hotkey: str) -> str:
    return hashlib.sha256(hotkey.encode()).hexdigest()


class Shelf:
    """Stands for the database; notes who was asked for together."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.failure: Exception | None = None
        self.lacks: set[str] = set()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Shelf]:
        yield self

    async def fetch(self, _: str, run_ids: list[str], hotkeys: list[str]) -> list[dict[str, Any]]:
        self.asked.append(list(hotkeys))
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        files = {hotkey: {"files": {"2t/0": digest(hotkey)}} for hotkey in hotkeys}
        return [
            {"run_id": run_id, "hotkey": hotkey, "manifest": json.dumps(files[hotkey]).encode()}
            for run_id, hotkey in zip(run_ids, hotkeys, strict=True)
            if hotkey not in self.lacks
        ]


def promises_of(shelf: Shelf) -> Promises:
    return Promises(cast("Database", shelf))


async def test_those_who_ask_in_one_turn_are_read_together_and_never_more_than_a_few() -> None:
    shelf = Shelf()
    promises = promises_of(shelf)
    hotkeys = [f"5M{number}" for number in range(2 * MOST_AT_ONCE + 3)]

    found = await asyncio.gather(*(promises.of(a_forecast(hotkey), ["2t/0"]) for hotkey in hotkeys))

    assert found == [{"2t/0": digest(hotkey)} for hotkey in hotkeys]
    assert [len(together) for together in shelf.asked] == [MOST_AT_ONCE, MOST_AT_ONCE, 3]


async def test_file_that_was_not_promised_is_the_miners_fault() -> None:
    with pytest.raises(MinerFault, match="lacks 1 files, such as msl/0"):
        await promises_of(Shelf()).of(a_forecast("5M"), ["2t/0", "msl/0"])


async def test_failure_of_the_database_reaches_all_who_wait_and_the_next_ask_anew() -> None:
    shelf = Shelf()
    promises = promises_of(shelf)
    shelf.failure = OwnFailure("gone")

    found = await asyncio.gather(
        *(promises.of(a_forecast(hotkey), ["2t/0"]) for hotkey in ("5A", "5B")), return_exceptions=True
    )
    shelf.failure = None

    assert [type(one) for one in found] == [OwnFailure, OwnFailure]
    assert await promises.of(a_forecast("5A"), ["2t/0"]) == {"2t/0": digest("5A")}


async def test_manifest_that_is_gone_is_our_failure_and_holds_up_nobody() -> None:
    shelf = Shelf()
    promises = promises_of(shelf)
    shelf.lacks = {"5A"}

    found = await asyncio.gather(
        *(promises.of(a_forecast(hotkey), ["2t/0"]) for hotkey in ("5A", "5B")), return_exceptions=True
    )

    assert isinstance(found[0], OwnFailure)
    assert found[1] == {"2t/0": digest("5B")}


async def test_one_who_no_longer_waits_takes_nobody_with_it() -> None:
    shelf = Shelf()
    promises = promises_of(shelf)
    first, second = (
        asyncio.create_task(promises.of(a_forecast(hotkey), ["2t/0"])) for hotkey in ("5A", "5B")
    )
    await asyncio.sleep(0)

    first.cancel()

    assert await second == {"2t/0": digest("5B")}
    assert shelf.asked == [["5B"]]
