"""Plays epochs of commit-reveal while the owner changes rules and pulses are lost, and follows each commit to its end."""

from __future__ import annotations

import argparse
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from campaigns.chain_faults.frame import add_frame, played
from campaigns.chain_faults.judging import Vector, commits_of, stored_vector
from campaigns.chain_faults.world import NETUID, SHORT_BLOCK_S, World, a_world, change_scores
from gaia.localnet.view.watch import NOT_NOW
from gaia.validator.core.weights.doubts import as_stored

_TEMPOS: Final = (20, 24, 30, 40)
"""Blocks of an epoch; those of the chain, 360 to 50,400, would take days here."""
_MOST_LAG: Final = 2
"""Blocks in which the journal must tell the end of a commit: the chain tells it in one, and is read twice a block."""
_ROWS = "SELECT epoch, state, vector, reveal_round FROM weight_journal ORDER BY epoch DESC LIMIT 40"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=int, default=500, help="epochs to play (500)")
    parser.add_argument(
        "--seed", type=int, default=4, help="decides what the owner does, and which pulses are lost (4)"
    )
    add_frame(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play the epochs; return {figures, ratios, violations}."""
    return played(_campaign, arguments, Found())


@dataclass
class Found:
    """What the epochs have shown."""

    epochs: int = 0
    acts: Counter[str] = field(default_factory=Counter)
    commits: int = 0
    """Commits that reached the chain; each was opened."""
    ends: Counter[str] = field(default_factory=Counter)
    """How the chain ended commits -> number."""
    lags: Counter[str] = field(default_factory=Counter)
    """Blocks from the end of a commit until the journal told it -> commits."""
    violations: list[str] = field(default_factory=list)

    def answer(self, seconds: float) -> dict[str, Any]:
        return {
            "figures": {
                "epochs": self.epochs,
                "acts_of_the_owner_and_the_beacon": dict(sorted(self.acts.items())),
                "commits_opened": self.commits,
                "ends_of_commits": dict(sorted(self.ends.items())),
                "blocks_until_the_journal_tells": dict(sorted(self.lags.items())),
                "seconds": round(seconds, 1),
            },
            "ratios": {"three_by_commits": round(3 / max(1, self.commits), 4)},
            "violations": self.violations,
        }


async def _campaign(folder: Path, arguments: argparse.Namespace, found: Found) -> None:
    chance = random.Random(arguments.seed)
    async with a_world(folder, SHORT_BLOCK_S * arguments.patience) as world:
        world.chain.write_storage("CommitRevealWeightsEnabled", NETUID, value=True)
        world.chain.write_storage("Tempo", NETUID, value=_TEMPOS[0])
        await world.is_up()
        watch = _Watch(world, found)
        epoch = world.chain.epoch
        while found.epochs < arguments.epochs:
            await world.chain.wait_for_block(world.chain.block + 1)
            await watch.look()
            if world.chain.epoch != epoch:
                epoch = world.chain.epoch
                found.epochs += 1
                await change_scores(world, chance)
                watch.disturb(chance)
        found.violations += world.ends


@dataclass
class _Watch:
    """Follows each commit on chain and in the journal, block by block."""

    world: World
    found: Found
    open: dict[int, Vector] = field(default_factory=dict)
    """Epoch of a commit in the chain's queue -> what it opens to."""
    ended: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Epoch -> (how the chain ended its commit, block), until the journal tells it."""
    rounds: dict[int, int] = field(default_factory=dict)
    """Epoch -> round of the beacon that opens its commit."""

    def disturb(self, chance: random.Random) -> None:
        """Let the owner change a rule, or the beacon lose a pulse."""
        chain, act = self.world.chain, "nothing"
        pick = chance.random()
        if pick < 0.1:
            act = "plain weights"
            chain.write_storage("CommitRevealWeightsEnabled", NETUID, value=False)
        elif pick < 0.3:
            act = "sealed weights"
            chain.write_storage("CommitRevealWeightsEnabled", NETUID, value=True)
        elif pick < 0.45:
            act = "another tempo"
            chain.write_storage("Tempo", NETUID, value=chance.choice(_TEMPOS))
        elif pick < 0.55:
            act = "an epoch at once"
            chain.write_storage("PendingEpochAt", NETUID, value=chain.block + chance.randint(10, 16))
        elif pick < 0.7 and self.rounds:
            act = "a lost pulse"
            chain.beacon.lose(self.rounds[max(self.rounds)])
        self.found.acts[act] += 1

    async def look(self) -> None:
        """Compare journal and chain in the newest block."""
        with suppress(*NOT_NOW):
            async with self.world.connected() as connection:
                rows = {row["epoch"]: row for row in await connection.fetch(_ROWS)}
            self._follow_chain()
            self._follow_journal(rows)

    def _follow_chain(self) -> None:
        chain = self.world.chain
        held, mine = dict(chain.weights(0)), chain.hotkey_of(0)
        for epoch in range(max(0, chain.epoch - 3), chain.epoch + 1):
            is_queued = any(hotkey == mine for hotkey, _ in chain.commits(epoch))
            if is_queued and epoch not in self.open:
                self.open[epoch] = commits_of(chain, epoch)
                self.found.commits += 1
            elif not is_queued and epoch in self.open:
                vector = self.open.pop(epoch)
                end = "revealed" if held == as_stored(list(zip(*vector, strict=True))) else "lost"
                self.ended[epoch] = (end, chain.block)
                self.found.ends[end] += 1

    def _follow_journal(self, rows: dict[int, Any]) -> None:
        chain, found = self.world.chain, self.found
        for epoch, vector in self.open.items():
            row = rows.get(epoch)
            if row is not None and row["reveal_round"] is not None:
                self.rounds[epoch] = row["reveal_round"]
            if row is not None and stored_vector(row["vector"]) != vector:
                found.violations.append(
                    f"epoch {epoch}: the commit opens to another vector than the journal's"
                )
        self.rounds = {epoch: number for epoch, number in self.rounds.items() if epoch in self.open}
        for epoch, (end, block) in list(self.ended.items()):
            state = rows[epoch]["state"] if epoch in rows else "unknown"
            lag = chain.block - block
            if state in ("revealed", "lost"):
                del self.ended[epoch]
                found.lags[f"{lag:02d}"] += 1
                if state != end:
                    found.violations.append(f"epoch {epoch}: the journal says {state}, and the chain {end}")
            if lag > _MOST_LAG:
                self.ended.pop(epoch, None)
                found.violations.append(
                    f"epoch {epoch}: {end} in block {block}, and {state} in {chain.block}"
                )
