"""Turns by key: how many at once, in which order, and that nothing stays behind."""

from __future__ import annotations

import asyncio

from gaia.validator.core.miners.slots import Turns


async def test_each_key_has_its_own_holders_and_others_wait_in_order() -> None:
    turns: Turns[str] = Turns(at_once=2)
    held: list[str] = []
    free = asyncio.Event()

    async def hold(name: str) -> None:
        async with turns.turn(name[0]):
            held.append(name)
            await free.wait()

    tasks = [asyncio.create_task(hold(name)) for name in ("a1", "a2", "a3", "a4", "b1")]
    await asyncio.sleep(0)
    at_once = list(held)
    free.set()
    await asyncio.gather(*tasks)

    assert at_once == ["a1", "a2", "b1"]
    assert held == ["a1", "a2", "b1", "a3", "a4"]


async def test_key_that_nobody_holds_or_awaits_is_forgotten() -> None:
    turns: Turns[str] = Turns()

    async with turns.turn("a"):
        waiting = asyncio.create_task(turns.turn("a").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        while_held = len(turns)

    assert (while_held, len(turns)) == (1, 0)
