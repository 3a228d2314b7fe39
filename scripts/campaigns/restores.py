"""Restores backups that are 1 to 30 days old under a running chain, and looks at what is signed then."""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from campaigns.chain_faults.backup import Age, Backup
from campaigns.chain_faults.frame import add_frame, played
from campaigns.chain_faults.judging import agreement_of, has_landed, vectors_of
from campaigns.chain_faults.world import MINERS, NETUID, World, a_world, change_scores, record_run
from gaia.localnet.wallets import keypair, miner_uri
from gaia.validator.core.chain.signing.signed_epochs import told_by
from gaia.validator.utils.errors import ExitCode

_BLOCK_S: Final = 0.3
_TEMPO: Final = 32
_DAY_BLOCKS: Final = 7200
_MOST_DAYS: Final = 30
_FIRST_BLOCK: Final = (_MOST_DAYS + 2) * _DAY_BLOCKS
"""The chain is older than the oldest backup."""
_MOST_LATE: Final = 0.2
_PATIENCE_BLOCKS: Final = 3 * _TEMPO
_MEASURED_BLOCKS: Final = 101
"""Blocks that a chain must have before a vector is sealed, because their duration is measured."""
RECORDS: Final = ("kept", "lost", "of the backup")
"""What becomes of the signer's record: it is beside the key, so that the database may be restored without it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trials", type=int, default=30, help="restores, the first of a backup of one day (30)"
    )
    parser.add_argument(
        "--seed", type=int, default=4, help="decides records, moments and the owner's mind (4)"
    )
    add_frame(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Restore backups of 1, 2, ... days; return {figures, ratios, violations}."""
    return played(_campaign, arguments, Found())


@dataclass
class Found:
    """What the restores have shown."""

    trials: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    """Way of the votes, and the record -> restores."""
    stopped: int = 0
    """Restores with an old record, after which the validator ended until the record was moved away."""
    late: int = 0
    """Restores that ended after the epoch that had its vector, so that they show nothing of it."""
    second: int = 0
    """Vectors that were signed in an epoch that had one."""
    lags: Counter[str] = field(default_factory=Counter)
    """Blocks of the first epoch that allowed a vector, until it landed -> restores."""
    violations: list[str] = field(default_factory=list)

    def answer(self, seconds: float) -> dict[str, Any]:
        if self.late > _MOST_LATE * self.trials:
            self.violations.append(f"{self.late} of {self.trials} restores took longer than their epoch")
        return {
            "figures": {
                "restores": self.trials,
                "ways": dict(sorted(self.ways.items())),
                "ended_because_of_an_old_record": self.stopped,
                "restores_after_the_epoch": self.late,
                "second_vectors_of_an_epoch": self.second,
                "blocks_until_the_next_vector": dict(sorted(self.lags.items())),
                "seconds": round(seconds, 1),
            },
            "ratios": {"three_by_restores": round(3 / max(1, self.trials), 3)},
            "violations": self.violations,
        }


async def _campaign(folder: Path, arguments: argparse.Namespace, found: Found) -> None:
    chance = random.Random(arguments.seed)
    block_s = _BLOCK_S * arguments.patience
    async with a_world(folder, block_s, first_block=_FIRST_BLOCK, tempo=_TEMPO) as world:
        await world.is_up()
        await world.chain.wait_for_block(_FIRST_BLOCK + _MEASURED_BLOCKS)
        for number in range(arguments.trials):
            age = _age(1 + number % _MOST_DAYS)
            await _Restore(world, chance, found, age, RECORDS[number % len(RECORDS)]).play()


def _age(days: int) -> Age:
    return Age(days, days * _DAY_BLOCKS // _TEMPO, days * _DAY_BLOCKS)


@dataclass
class _Restore:
    """A backup in one epoch, its restore two epochs later, and the first vector after it."""

    world: World
    chance: random.Random
    found: Found
    age: Age
    record: str

    async def play(self) -> None:
        world, chain = self.world, self.world.chain
        is_sealed = self.chance.random() < 0.5
        chain.write_storage("CommitRevealWeightsEnabled", NETUID, value=is_sealed)
        way = f"{'sealed' if is_sealed else 'plain'}, record {self.record}"
        self.found.trials += 1
        self.found.ways[way] += 1
        told = f"{self.age.days} days, {way}"
        if await self._epoch_with_a_vector(told) is None:
            return
        async with world.connected() as connection:
            backup = await Backup.make(connection, world.record)
        await change_scores(world, self.chance)
        if await self._epoch_with_a_vector(told) is None:
            return
        await change_scores(world, self.chance)
        if (epoch := await self._epoch_with_a_vector(told)) is None:
            return
        before = len(chain.submitted)
        await self._restore(backup)
        self.found.late += chain.epoch != epoch
        await self._look(told, epoch, before)
        world.ends.clear()

    async def _epoch_with_a_vector(self, told: str) -> int | None:
        """Wait for the next epoch, and until it has its vector; return the epoch, or None if it gets none."""
        epoch = await self._next_epoch()
        if not await self._until(lambda: has_landed(self.world.chain, epoch)):
            self.found.violations.append(f"{told}: no vector of epoch {epoch} before the restore")
            return None
        if problem := await self._disagreement():
            self.found.violations.append(f"{told}: before the restore, {problem}")
            return None
        return epoch

    async def _next_epoch(self) -> int:
        """Wait for the next epoch, and return it."""
        chain = self.world.chain
        before = chain.epoch
        await self._until(lambda: chain.epoch > before)
        return chain.epoch

    async def _restore(self, backup: Backup) -> None:
        """End signer and engine, restore, and start them again, with a run that was scored after the restore."""
        world = self.world
        await world.hold()
        async with world.connected() as connection:
            await backup.restore(connection, self.age)
            # One run each time, because the gate of coverage holds weights of fewer runs than before.
            await connection.execute("TRUNCATE runs CASCADE")
            hotkeys = [str(keypair(miner_uri(number)).ss58_address) for number in range(MINERS)]
            await record_run(connection, hotkeys, f"after-restore-{self.found.trials}")
        await change_scores(world, self.chance)
        if self.record == "lost":
            world.record.unlink()
        elif self.record == "of the backup":
            world.record.write_bytes(backup.aged_record(self.age))
        world.held.clear()

    async def _look(self, told: str, epoch: int, before: int) -> None:
        """Check that nothing is signed in the epoch that has its vector, and that a later one gets its own.

        Parameters
        ----------
        before
            Number of extrinsics that the chain had taken before the restore.
        """
        chain, found = self.world.chain, self.found
        if self.record == "of the backup":
            await self._move_record(told)
        await self._until(lambda: chain.epoch > epoch)
        signed = [extrinsic for number, extrinsic in list(chain.submitted)[before:] if number == epoch]
        found.second += len(signed)
        if signed or len(vectors_of(chain, epoch)) > 1:
            found.violations.append(
                f"{told}: {len(signed)} signatures in epoch {epoch}, which had its vector"
            )
        begun, later = chain.block, chain.epoch
        if not await self._until(lambda: has_landed(chain, later)):
            found.violations.append(f"{told}: epoch {later}, the first after the restore, has no vector")
            return
        found.lags[f"{chain.block - begun:02d}"] += 1
        if problem := await self._disagreement():
            found.violations.append(f"{told}: after the restore, {problem}")
        foreign = f"code {int(ExitCode.SECOND_INSTANCE)}"
        if self.record != "of the backup" and any(foreign in end for end in self.world.ends):
            found.violations.append(f"{told}: a false alarm of a second instance")

    async def _move_record(self, told: str) -> None:
        """Wait until the validator ends because of its old record, and do what its message asks for."""
        if not await self._until(lambda: told_by(self.world.record)[1] is not None):
            self.found.violations.append(f"{told}: an old record was taken for the present one")
            return
        await self.world.hold()
        self.found.stopped += 1
        await self._next_epoch()
        self.world.record.unlink()
        self.world.held.clear()

    async def _disagreement(self) -> str:
        """Return how journal and chain still contradict each other at the end of the next epoch; "" once they agree.

        Weights that were revealed after the backup stand on chain until the next reveal.
        """
        chain = self.world.chain
        last = chain.epoch + 1
        problem = "nothing was looked at"
        while problem and chain.epoch <= last:
            async with self.world.connected() as connection:
                problem = await agreement_of(connection, chain, NETUID, chain.epoch)
            await chain.wait_for_block(chain.block + 1)
        return problem

    async def _until(self, condition: Callable[[], bool]) -> bool:
        """Look at each block until `condition` holds, for three epochs at most; return whether it does."""
        chain = self.world.chain
        last = chain.block + _PATIENCE_BLOCKS
        while not condition():
            if chain.block >= last:
                return False
            await chain.wait_for_block(chain.block + 1)
        return True
