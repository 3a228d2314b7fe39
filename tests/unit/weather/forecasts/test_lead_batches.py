"""Forecasts are scored together as they come, and one failure is one forecast's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NoReturn

import pytest

from gaia.tasks.defined_tasks.weather.forecasts.lead_batches import LeadBatches
from gaia.validator.utils.errors import GaiaError, MinerFault, QuarantinedError, TransientError
from gaia.validator.utils.identities import Hotkey
from tests.support.patience import patience

Value = dict[str, object]
Batches = LeadBatches[object, Value]


class Units:
    """Stands for the pool: units wait at a gate, the names in `poison` take their whole unit with them."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.together_calls: list[list[str]] = []
        self.alone_calls: list[str] = []
        self.faults: dict[str, GaiaError] = {}
        self.poison: set[str] = set()
        self.begun = asyncio.Event()

    async def together(self, payloads: Mapping[Hotkey, object]) -> dict[Hotkey, Value | GaiaError]:
        self.together_calls.append(sorted(payloads))
        self.begun.set()
        await self.gate.wait()
        if self.poison & set(payloads):
            raise QuarantinedError("killed 3 workers")
        return {name: self.faults.get(name) or {"of": payload} for name, payload in payloads.items()}

    async def alone(self, name: Hotkey, payload: object) -> Value:
        self.alone_calls.append(name)
        self.begun.set()
        await self.gate.wait()
        if name in self.poison:
            raise QuarantinedError("killed 3 workers")
        if name in self.faults:
            raise self.faults[name]
        return {"of": payload}

    def batches(self, most: int = 4) -> Batches:
        return LeadBatches(most, self.together, self.alone)


async def scored(batches: Batches, names: str) -> dict[str, Value | BaseException]:
    results = await asyncio.gather(
        *(batches.score(Hotkey(n), f"payload {n}") for n in names), return_exceptions=True
    )
    return dict(zip(names, results, strict=True))


async def test_those_who_come_together_are_scored_together() -> None:
    units = Units()

    async with units.batches() as batches:
        results = await scored(batches, "abc")

    assert units.together_calls == [["a", "b", "c"]]
    assert results == {name: {"of": f"payload {name}"} for name in "abc"}


async def test_no_unit_holds_more_than_it_may() -> None:
    units = Units()

    async with units.batches(most=4) as batches:
        results = await scored(batches, "abcdefghij")

    assert all(result == {"of": f"payload {name}"} for name, result in results.items())
    assert sum(map(len, units.together_calls)) + len(units.alone_calls) == 10
    assert max(map(len, units.together_calls)) == 4


async def test_a_full_batch_does_not_wait_for_the_one_under_way() -> None:
    units = Units()
    units.gate.clear()

    async with units.batches(most=2) as batches:
        first = asyncio.create_task(batches.score(Hotkey("a"), 1))
        await units.begun.wait()
        units.begun.clear()
        others = [asyncio.create_task(batches.score(Hotkey(name), 1)) for name in "bc"]
        await units.begun.wait()
        assert (units.alone_calls, units.together_calls) == (["a"], [["b", "c"]])
        units.gate.set()
        await asyncio.gather(first, *others)


async def test_those_who_come_while_a_unit_is_under_way_go_next_and_together() -> None:
    units = Units()
    units.gate.clear()

    async with units.batches() as batches:
        first = asyncio.create_task(batches.score(Hotkey("a"), 1))
        await units.begun.wait()
        late = [asyncio.create_task(batches.score(Hotkey(name), 1)) for name in "bc"]
        await asyncio.sleep(0)
        assert units.together_calls == []
        units.gate.set()
        await asyncio.gather(first, *late)

    assert (units.alone_calls, units.together_calls) == (["a"], [["b", "c"]])


async def test_one_that_never_comes_holds_up_nobody() -> None:
    units = Units()

    async with units.batches() as batches:
        results = await asyncio.wait_for(scored(batches, "ab"), patience(5))

    assert len(results) == 2


async def test_a_fault_is_raised_to_its_own_forecast() -> None:
    units = Units()
    units.faults["b"] = MinerFault("swapped")

    async with units.batches() as batches:
        results = await scored(batches, "abc")

    assert isinstance(results["b"], MinerFault)
    assert [results["a"], results["c"]] == [{"of": "payload a"}, {"of": "payload c"}]


@pytest.mark.parametrize("names", ["ab", "abcd"])
async def test_what_kills_a_batch_is_found_one_by_one(names: str) -> None:
    units = Units()
    units.poison = {"b"}

    async with units.batches() as batches:
        results = await scored(batches, names)

    assert isinstance(results.pop("b"), QuarantinedError)
    assert all(result == {"of": f"payload {name}"} for name, result in results.items())
    assert sorted(units.alone_calls) == list(names)


async def test_forecast_that_an_answer_lacks_is_scored_alone_like_all_of_its_batch() -> None:
    units = Units()

    async def together(payloads: Mapping[Hotkey, object]) -> Mapping[Hotkey, Any]:
        whole = await units.together(payloads)
        return {hotkey: whole[hotkey] for hotkey in payloads if hotkey != "b"}

    async with LeadBatches(4, together, units.alone) as batches:
        results = await scored(batches, "abc")

    assert results == {name: {"of": f"payload {name}"} for name in "abc"}
    assert sorted(units.alone_calls) == ["a", "b", "c"]


async def test_trouble_of_our_own_reaches_everybody() -> None:
    units = Units()
    units.faults = {name: TransientError("truth is incomplete") for name in "ab"}

    async with units.batches() as batches:
        results = await scored(batches, "ab")

    assert all(isinstance(result, TransientError) for result in results.values())


async def test_a_bug_is_not_swallowed() -> None:
    class Bug(BaseException):
        pass

    units = Units()

    async def together(payloads: Mapping[Hotkey, object]) -> NoReturn:
        raise Bug

    async with LeadBatches(4, together, units.alone) as batches:
        results = await scored(batches, "ab")

    assert all(isinstance(result, Bug) for result in results.values())


async def test_leaving_lets_go_of_what_is_under_way() -> None:
    units = Units()
    units.gate.clear()

    async with units.batches() as batches:
        waiting = asyncio.create_task(batches.score(Hotkey("a"), 1))
        await units.begun.wait()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_one_who_gives_up_leaves_the_others_alone() -> None:
    units = Units()
    units.gate.clear()

    async with units.batches() as batches:
        tasks = {name: asyncio.create_task(batches.score(Hotkey(name), 1)) for name in "ab"}
        await units.begun.wait()
        tasks["a"].cancel()
        units.gate.set()
        assert await tasks["b"] == {"of": 1}
        with pytest.raises(asyncio.CancelledError):
            await tasks["a"]
