"""Kills signer, engine and database and troubles the nodes, and checks that each epoch has its one vector on chain."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from campaigns.chain_faults.judging import agreement_of, has_landed, vectors_of
from campaigns.chain_faults.world import NETUID, ROLES, SHORT_BLOCK_S, TEMPO, World, a_world, change_scores
from gaia.localnet.view.watch import NOT_NOW
from gaia.validator.core.chain.epochs import LEAST_BLOCKS

if TYPE_CHECKING:
    import asyncpg

_MOST_KILLS: Final = 7
_KILLING_BLOCKS: Final = 14
"""Blocks at the beginning of an epoch in which processes are killed."""
_QUIET_BLOCKS: Final = 10
"""Blocks of an epoch, after everything is up again, within which its vector must land."""
_MOST_EXCUSED: Final = 0.1
_LONGEST_STOP_S: Final = 1.5
_TRIGGER_S: Final = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=40, help="kills and stops of processes (40)")
    parser.add_argument("--seed", type=int, default=4, help="decides what happens when (4)")
    parser.add_argument(
        "--state", type=Path, help="file that keeps what is done, so that a run can be resumed"
    )
    parser.add_argument("--patience", type=float, default=1.0, help="all times are so many times longer (1)")
    parser.add_argument("--keep", type=Path, help="write logs below this folder, and leave them")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play epochs until so many kills are done; return {figures, ratios, violations}."""
    done = Done.load(arguments.state)
    with tempfile.TemporaryDirectory(prefix="chain-") as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        asyncio.run(_campaign(folder, done, arguments))
    return done.answer()


@dataclass
class Done:
    """What the trials so far have shown."""

    epochs: int = 0
    excused: int = 0
    """Epochs in which too few blocks were left after the last recovery."""
    seconds: float = 0.0
    acts: Counter[str] = field(default_factory=Counter)
    """ "<kill or stop> <role>" -> number."""
    triggers: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    agreed: Counter[str] = field(default_factory=Counter)
    """Blocks after the recovery until journal and chain agreed -> epochs."""
    violations: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return self.acts.total()

    def answer(self) -> dict[str, Any]:
        return {
            "figures": {
                "kills_and_stops": self.kills,
                "epochs": self.epochs,
                "epochs_missed": sum("missed" in each for each in self.violations),
                "epochs_without_ten_quiet_blocks": self.excused,
                "acts": dict(sorted(self.acts.items())),
                "triggers": dict(sorted(self.triggers.items())),
                "troubles_of_nodes": dict(sorted(self.troubles.items())),
                "blocks_until_journal_and_chain_agree": dict(sorted(self.agreed.items())),
                "seconds": round(self.seconds, 1),
            },
            "ratios": {"three_by_kills": round(3 / max(1, self.kills), 4)},
            "violations": self.violations,
        }

    def save(self, path: Path | None) -> None:
        if path is not None:
            path.write_text(json.dumps(self.__dict__))

    @classmethod
    def load(cls, path: Path | None) -> Done:
        if path is None or not path.exists():
            return cls()
        known: dict[str, Any] = json.loads(path.read_text())
        for name in ("acts", "triggers", "troubles", "agreed"):
            known[name] = Counter(known[name])
        return cls(**known)


async def _campaign(folder: Path, done: Done, arguments: argparse.Namespace) -> None:
    chance = random.Random(f"{arguments.seed} {done.epochs}")
    before_s, began = done.seconds, time.monotonic()
    async with a_world(folder, SHORT_BLOCK_S * arguments.patience) as world:
        await world.is_up()
        await _next_epoch(world)
        while done.kills < arguments.kills:
            await _Trial(world, chance, done, arguments.kills - done.kills).play()
            done.seconds = before_s + time.monotonic() - began
            done.save(arguments.state)


async def _next_epoch(world: World) -> None:
    epoch = world.chain.epoch
    while world.chain.epoch == epoch:
        await world.chain.wait_for_block(world.chain.block + 1)


@dataclass
class _Trial:
    """One epoch: troubles, kills, recovery, and what is on chain then."""

    world: World
    chance: random.Random
    done: Done
    most: int

    async def play(self) -> None:
        chain, chance = self.world.chain, self.chance
        epoch, first = chain.epoch, chain.block
        if chance.random() < 0.2:
            chain.write_storage("CommitRevealWeightsEnabled", NETUID, value=chance.random() < 0.5)
        troubles = await self.world.nodes.trouble(chance)
        stays = chance.random() < 0.5
        await change_scores(self.world, chance)
        # Most of what an epoch has to do is done in its first blocks.
        moments: Sequence[str] = _EARLY
        for _ in range(min(self.most, chance.randint(3, _MOST_KILLS))):
            if chain.block < first + _KILLING_BLOCKS:
                await self._act(epoch, chance.choice(moments))
            moments = sorted(_TRIGGERS)
        if not stays:
            await self.world.nodes.recover()
        recovered = await self.world.is_up()
        await self._agree(epoch, first, recovered)
        is_landed = False
        while chain.epoch == epoch:
            # A reveal in the first block of the next epoch takes a commit out of the queue.
            is_landed = is_landed or has_landed(chain, epoch)
            await chain.wait_for_block(chain.block + 1)
        await self.world.nodes.recover()
        self._note(epoch, recovered - first, troubles, is_landed=is_landed)

    async def _act(self, epoch: int, name: str) -> None:
        """Kill or stop one process at a moment that matters."""
        chance = self.chance
        try:
            async with asyncio.timeout(_TRIGGER_S):
                await _TRIGGERS[name](self.world, epoch, chance)
        except TimeoutError:
            name = "later"
        role = chance.choice(ROLES)
        if role != "database" and role not in self.world.processes:
            return  # it is being started just now
        if role == "database" and self.world.server is None:
            return
        if chance.random() < 0.7:
            self.done.acts[f"kill {role}"] += 1
            await self.world.kill(role)
        else:
            self.done.acts[f"stop {role}"] += 1
            await self.world.stop(role, chance.uniform(0.1, _LONGEST_STOP_S))
        self.done.triggers[name] += 1

    async def _agree(self, epoch: int, first: int, recovered: int) -> None:
        """Wait until the journal says what the chain says, at the end of the epoch at the latest."""
        chain = self.world.chain
        problem = "nothing was looked at"
        while chain.epoch == epoch:
            async with self.world.connected() as connection:
                problem = await agreement_of(connection, chain, NETUID, epoch)
            if not problem:
                blocks = max(0, chain.block - recovered)
                self.done.agreed[f"{blocks:02d}"] += 1
                return
            await chain.wait_for_block(chain.block + 1)
        if recovered <= first + TEMPO - LEAST_BLOCKS - _QUIET_BLOCKS:
            self.done.violations.append(f"epoch {epoch}: journal and chain never agreed: {problem}")

    def _note(self, epoch: int, up_after: int, troubles: list[str], *, is_landed: bool) -> None:
        done, told = self.done, f"epoch {epoch} ({', '.join(troubles) or 'no trouble'})"
        done.epochs += 1
        done.troubles.update(troubles or ["none"])
        signed = vectors_of(self.world.chain, epoch)
        if len(signed) > 1:
            done.violations.append(f"{told}: {len(signed)} different vectors were signed")
        if not is_landed:
            if up_after <= TEMPO - LEAST_BLOCKS - _QUIET_BLOCKS:
                done.violations.append(f"{told}: missed, although all was up from block {up_after} on")
            else:
                done.excused += 1
        if done.excused > _MOST_EXCUSED * max(10, done.epochs):
            done.violations.append(
                f"{done.excused} of {done.epochs} epochs had no ten blocks in which all was up"
            )
        done.violations += self.world.ends
        self.world.ends.clear()


async def _later(_world: World, _epoch: int, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(0.0, 2 * SHORT_BLOCK_S))


async def _promised(world: World, epoch: int, _chance: random.Random) -> None:
    await _until_row(world, epoch, "true")


async def _sealed(world: World, epoch: int, _chance: random.Random) -> None:
    await _until_row(world, epoch, "sealed IS NOT NULL")


async def _settled(world: World, epoch: int, _chance: random.Random) -> None:
    await _until_row(world, epoch, "state IN ('set', 'committed')")


async def _submitted(world: World, _epoch: int, _chance: random.Random) -> None:
    before = list(world.chain.submitted)[-1:]
    while list(world.chain.submitted)[-1:] == before:
        await asyncio.sleep(0.005)


async def _included(world: World, epoch: int, chance: random.Random) -> None:
    await _submitted(world, epoch, chance)
    await world.chain.wait_for_block(world.chain.block + 1)


async def _until_row(world: World, epoch: int, condition: str) -> None:
    """Wait until the journal has the vector of the epoch in such a state."""
    statement = f"SELECT count(*) FROM weight_journal WHERE epoch = $1 AND {condition}"  # noqa: S608 - ours
    async with world.connected() as connection:
        with suppress(*NOT_NOW):
            while not await _count(connection, statement, epoch):
                await asyncio.sleep(0.005)


async def _count(connection: asyncpg.Connection[asyncpg.Record], statement: str, epoch: int) -> int:
    return int(await connection.fetchval(statement, epoch))


_TRIGGERS: Final[Mapping[str, Callable[[World, int, random.Random], Awaitable[None]]]] = {
    "later": _later,
    "promised": _promised,
    "sealed": _sealed,
    "settled": _settled,
    "submitted": _submitted,
    "included": _included,
}
"""Moment -> waits for it, for two seconds at most."""
_EARLY: Final = ("included", "promised", "sealed", "submitted")
