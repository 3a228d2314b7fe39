"""The chain's own epochs: which one a commit belongs to, and when the chain reveals it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gaia.validator.utils.errors import TransientError

if TYPE_CHECKING:
    from gaia.validator.core.chain.reader import ChainReader

MAX_TEMPO: Final = 50_400
"""Longest tempo that an owner can set, in blocks. An epoch begins at the latest after so many blocks without a step."""
LONGEST_ERA: Final = 64
"""Longest validity of our extrinsics, in blocks."""
_MOVES = 2
"""Blocks by which the head may move between our reading and the signing."""
_INCLUSION_BLOCKS = 1
"""Blocks between the head that we read and the block that includes an extrinsic."""
_ERAS = (LONGEST_ERA, 32, 16, 8, 4)
LEAST_BLOCKS: Final = min(_ERAS) + _INCLUSION_BLOCKS + _MOVES
"""Blocks that an epoch must still last for an extrinsic of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSchedule:
    """State of a subnet's epochs after one block.

    The rules are those of `should_run_epoch` and `current_epoch_with_lookahead` of subtensor
    (run_coinbase.rs and weights.rs, 2026-06): an epoch begins `tempo` blocks after the last one,
    or earlier if the owner triggered it.
    """

    block: int
    index: int
    """`SubnetEpochIndex`: number of the present epoch."""
    last_epoch_block: int
    """Block in which the present epoch began."""
    pending_epoch_at: int
    """Block of an epoch that the owner triggered; 0: none."""
    tempo: int
    """Blocks of one epoch."""
    blocks_since_last_step: int

    def next_start(self) -> int:
        """Return the block in which the next epoch begins.

        Raises
        ------
        ValueError
            If the tempo is 0: such a subnet has no epochs.
        """
        if not self.tempo:
            raise ValueError("the subnet's tempo is 0, so that it has no epochs")
        regular = self.last_epoch_block + self.tempo
        overdue = self.block + MAX_TEMPO + 1 - self.blocks_since_last_step
        triggered = [self.pending_epoch_at] if self.pending_epoch_at else []
        return max(self.block + 1, min(regular, overdue, *triggered))

    def after_next_start(self) -> EpochSchedule:
        """Return the state after the block in which the next epoch begins."""
        start = self.next_start()
        return EpochSchedule(
            block=start,
            index=self.index + 1,
            last_epoch_block=start,
            pending_epoch_at=0,
            tempo=self.tempo,
            blocks_since_last_step=0,
        )

    def epoch_of_commit(self) -> int:
        """Return the epoch of weights or a commit that the next block includes."""
        return self.index + (self.tempo > 0 and self.first_seen() <= self.block + _INCLUSION_BLOCKS)

    def first_block_of_commits(self) -> int:
        """Return the first block of the epoch to which weights or a commit in the next block belong."""
        return self.last_epoch_block if self.epoch_of_commit() == self.index else self.first_seen()

    def first_block_of(self, epoch: int) -> int:
        """Return the first block that treats `epoch`, a later one, as the present epoch.

        Commits are revealed before the epoch's counter is raised, in the same block.
        """
        if epoch <= self.index:
            raise ValueError(f"epoch {epoch} has begun, because the present one is {self.index}")
        before = self
        while before.index + 1 < epoch:
            before = before.after_next_start()
        return before.first_seen()

    def era_blocks(self) -> int:
        """Return for how many blocks an extrinsic may be valid so that it cannot be included in the next epoch.

        Eras are powers of two, from 4 to 64 blocks; 0: the epoch ends too soon for the shortest.
        """
        left = self.first_seen() - self.block - _INCLUSION_BLOCKS - _MOVES if self.tempo else LONGEST_ERA
        return next((era for era in _ERAS if era <= left), 0)

    def is_within(self, first: int, era_blocks: int) -> bool:
        """Return whether an extrinsic that is valid for `era_blocks` from block `first` on ends with this epoch."""
        return not self.tempo or first + era_blocks <= self.first_seen()

    def first_seen(self) -> int:
        """Return the first block that treats the next epoch as the present one.

        An epoch that begins only because none began for `MAX_TEMPO` blocks is seen one block late:
        the block that starts it counts itself after it has revealed the commits.
        """
        start = self.next_start()
        is_foreseen = (
            start >= self.last_epoch_block + self.tempo
            or 0 < self.pending_epoch_at <= start
            or self.blocks_since_last_step + start - 1 - self.block > MAX_TEMPO
        )
        return start if is_foreseen else start + 1


async def open_epoch(chain: ChainReader, netuid: int, epoch: int) -> EpochSchedule:
    """Return the subnet's epochs while `epoch` is the present one, and long enough for an extrinsic of it.

    Raises
    ------
    TransientError
        If the chain is in another epoch, `epoch` ends too soon, or the chain cannot be read.
    """
    schedule = await chain.schedule(netuid, await chain.head())
    present = schedule.epoch_of_commit()
    if present != epoch:
        raise TransientError(f"the chain is in epoch {present}, not in epoch {epoch} of the weights")
    if not schedule.era_blocks():
        raise TransientError(f"epoch {epoch} ends too soon for weights of it")
    return schedule
