"""Plays many days of weights while the owner changes rules, the runtime is upgraded, and connections break."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from campaigns.chain_faults.frame import add_frame, played
from campaigns.chain_faults.judging import has_landed, stored_vector, vectors_of
from campaigns.chain_faults.owners import calendar
from campaigns.chain_faults.world import MINERS, NETUID, World, a_world, change_scores, record_run
from gaia.localnet.wallets import keypair, miner_uri
from gaia.validator.app.startup.preflight import claim_data_dir
from gaia.validator.core.weights.doubts import as_stored

_BLOCK_S: Final = 0.3
_TEMPO: Final = 20
_FREEZE_WINDOW: Final = 10
"""Last blocks of an epoch in which no rule changes, as on the real chain."""
_HANG_UPS: Final = 3
"""Connections that a node ends in one epoch, one of each node."""
_WARM_UP: Final = 0.1
"""Part of the days after which growth of memory is measured."""
MOST_GROWTH: Final = 0.05
_JUDGED_FROM: Final = 1000
"""Reconnects from which on the growth says something; before, the process still fills its caches."""
_OPEN_EPOCHS: Final = 4
"""Newest epochs whose commits may still wait for their reveal."""
_AGED: Final = {
    "runs": ("init_time", "opened_at", "completed_at"),
    "forecasts": ("opened_at", "next_at", "changed_at"),
    "score_table": ("updated_at",),
}
"""Table -> columns that a day makes older."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, default=60, help="days to play, 14 or more (60)")
    parser.add_argument("--epochs", type=int, default=7, help="epochs of one day (7)")
    parser.add_argument("--seed", type=int, default=4, help="decides days, scores and hang-ups (4)")
    add_frame(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play the days; return {figures, ratios, violations}."""
    return played(_campaign, arguments, Found())


@dataclass
class Found:
    """What the days have shown."""

    days: int = 0
    landed: dict[int, int] = field(default_factory=dict)
    """Epoch -> block of its vector."""
    stood: set[int] = field(default_factory=set)
    """Epochs whose vector was among the chain's weights: set, or revealed."""
    missed: list[int] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    hang_ups: int = 0
    memory: list[float] = field(default_factory=list)
    """MiB of the signer at the end of each day."""
    upgrades: list[int] = field(default_factory=list)
    """Days on which the runtime got another version."""
    rows: int = 0
    """Rows of the history that were compared with the chain."""
    violations: list[str] = field(default_factory=list)

    @property
    def metadata_mib(self) -> float:
        """Memory that the metadata of other runtimes took; each connection keeps four of them at most."""
        return sum(self.memory[day - 1] - self.memory[day - 2] for day in self.upgrades)

    @property
    def growth(self) -> float:
        """Growth of the signer's memory after the first days, without that."""
        warm = self.memory[int(_WARM_UP * len(self.memory))]
        return (self.memory[-1] - self.metadata_mib) / warm - 1

    def answer(self, seconds: float) -> dict[str, Any]:
        epochs = len(self.landed) + len(self.missed)
        if self.hang_ups >= _JUDGED_FROM and self.growth > MOST_GROWTH:
            self.violations.append(f"the signer's memory grew by {self.growth:.1%}")
        return {
            "figures": {
                "days": self.days,
                "epochs": epochs,
                "epochs_missed": len(self.missed),
                "events": self.events,
                "reconnects_of_the_signer": self.hang_ups,
                "signer_memory_mib": [round(each, 1) for each in self.memory],
                "signer_memory_of_new_runtimes_mib": round(self.metadata_mib, 1),
                "rows_of_history_compared": self.rows,
                "seconds": round(seconds, 1),
            },
            "ratios": {
                "signer_memory_growth": round(self.growth, 4),
                "three_by_epochs": round(3 / max(1, epochs), 4),
            },
            "violations": self.violations,
        }


async def _campaign(folder: Path, arguments: argparse.Namespace, found: Found) -> None:
    chance = random.Random(arguments.seed)
    async with a_world(folder, _BLOCK_S * arguments.patience, tempo=_TEMPO) as world:
        # The local chain has a shorter one where epochs are short; the owner's triggered epochs last so long.
        world.chain.write_storage("AdminFreezeWindow", value=_FREEZE_WINDOW)
        await world.is_up()
        spec = world.chain.inner.runtime.spec_version
        events = calendar(arguments.days, _TEMPO, spec, chance)
        await _next_epoch(world)
        for day in range(1, arguments.days + 1):
            await _new_day(world, day)
            event = asyncio.create_task(_happen(world, found, *events[day])) if day in events else None
            if day in events and "upgrade" in events[day][0]:
                found.upgrades.append(day)
            for _ in range(arguments.epochs):
                await _epoch(world, found, chance)
            if event is not None:
                await event
            found.days = day
            found.memory.append(psutil.Process(world.pid("signer")).memory_info().rss / 2**20)
        found.violations += world.ends
        await _compare_history(world, found)


async def _new_day(world: World, day: int) -> None:
    """Make all runs a day older, and add one with a score of each miner."""
    hotkeys = [str(keypair(miner_uri(number)).ss58_address) for number in range(MINERS)]
    async with world.connected() as connection, connection.transaction():
        # Time passes for these rows, which the guards of the schema would not let change.
        await connection.execute("SET LOCAL session_replication_role = replica")
        for table, columns in _AGED.items():
            older = ", ".join(f"{column} = {column} - interval '1 day'" for column in columns)
            await connection.execute(f"UPDATE {table} SET {older}")  # noqa: S608 - ours
        await record_run(connection, hotkeys, f"day-{day}")


async def _happen(world: World, found: Found, name: str, act: Any) -> None:
    """Let an event of the calendar happen."""
    found.events.append(name)
    if problem := await act(world.chain):
        found.violations.append(f"{name}: {problem}")


async def _next_epoch(world: World) -> None:
    epoch = world.chain.epoch
    while world.chain.epoch == epoch:
        await world.chain.wait_for_block(world.chain.block + 1)


async def _epoch(world: World, found: Found, chance: random.Random) -> None:
    """Follow one epoch to its end, and let each node hang up once."""
    chain, epoch = world.chain, world.chain.epoch
    first = chain.block
    waiting = [*world.nodes.endpoints]
    chance.shuffle(waiting)
    moments = sorted(chance.sample(range(1, _TEMPO - 2), _HANG_UPS))
    while chain.epoch == epoch:
        updated = chain.last_update(0)
        if epoch not in found.landed and updated >= first and has_landed(chain, epoch):
            found.landed[epoch] = updated
            # So that the vectors of two epochs are never the same.
            await change_scores(world, chance)
        _note_standing(world, found)
        if moments and chain.block >= first + moments[0]:
            moments.pop(0)
            found.hang_ups += await waiting.pop().hang_up()
        await chain.wait_for_block(chain.block + 1)
    if epoch not in found.landed:
        found.missed.append(epoch)
        found.violations.append(f"epoch {epoch} of day {found.days + 1} has no vector")
    if (count := len(vectors_of(chain, epoch))) > 1:
        found.violations.append(f"epoch {epoch} has {count} vectors")


def _note_standing(world: World, found: Found) -> None:
    """Note whose vector the chain's weights are."""
    chain = world.chain
    held = dict(chain.weights(0))
    for epoch in range(chain.epoch - _OPEN_EPOCHS, chain.epoch + 1):
        if any(held == as_stored(list(zip(*each, strict=True))) for each in vectors_of(chain, epoch)):
            found.stood.add(epoch)


async def _compare_history(world: World, found: Found) -> None:
    """Compare what `gaia weights history` prints with what the chain has taken, epoch by epoch."""
    command = (sys.executable, "-m", "gaia.cli", "weights", "history", "--json", "--last", "100000")
    environment = os.environ | {"GAIA_DATA_DIR": str(world.folder / "data"), "GAIA_NETUID": str(NETUID)}
    # The command takes the server for that of a validator that runs.
    claim = claim_data_dir(world.folder / "data")
    try:
        told = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
        output, _ = await told.communicate()
    finally:
        os.close(claim)
    _note_standing(world, found)
    rows = {row["epoch"]: row for row in json.loads(output)}
    async with world.connected() as connection:
        stored = await connection.fetch("SELECT epoch, vector, commit_block FROM weight_journal")
    commits = {row["epoch"]: row["commit_block"] for row in stored}
    vectors = {row["epoch"]: stored_vector(row["vector"]) for row in stored}
    for epoch, block in found.landed.items():
        row = rows.get(epoch)
        # The chain drops what was sealed with a version key that is too low when it is revealed.
        allowed = {"set", "revealed"} if epoch in found.stood else {"lost"}
        allowed |= {"committed"} if epoch > world.chain.epoch - _OPEN_EPOCHS else set()
        if row is None or row["state"] not in allowed:
            found.violations.append(f"epoch {epoch} is {row['state'] if row else 'absent'} in the history")
            continue
        found.rows += 1
        told_block = row["block"] if row["state"] == "set" else commits[epoch]
        if told_block != block:
            found.violations.append(f"epoch {epoch}: block {told_block} in the history, {block} on chain")
        if vectors_of(world.chain, epoch) != {vectors[epoch]}:
            found.violations.append(f"epoch {epoch}: another vector in the history than on chain")
