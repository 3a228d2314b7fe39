"""What the chain makes of our weights beside the other validators', as the signer reads it."""

from __future__ import annotations

from typing import Final

import msgspec

from gaia.validator.utils.chain.metagraph import BLOCK_S
from gaia.validator.utils.identities import Hotkey

BLOCKS_PER_DAY: Final = 86400 / BLOCK_S


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What the next epoch gives us if nobody else changes anything."""

    validator_trust: float
    dividends: float


class PermitPlace(msgspec.Struct, frozen=True, kw_only=True):
    """How safe our permit is: the chain gives one to the hotkeys with the largest stake."""

    rank: int
    """Our place by stake, from 1."""
    places: int
    """Number of permits."""
    margin: float
    """Tokens of stake that we could lose before another hotkey takes our place; negative: what we lack."""


class ValidatorRow(msgspec.Struct, frozen=True, kw_only=True):
    """One validator whose weights count."""

    uid: int
    hotkey: Hotkey
    stake: float
    """Part of the stake that counts, in the next epoch."""
    age_blocks: int
    """Blocks since its last weights or commit."""
    validator_trust: float
    dividends: float
    distance: float | None
    """Part of its weight that is elsewhere than ours; None: it has no weights that count."""


class MinerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One miner on whom we differ."""

    uid: int
    hotkey: Hotkey
    ours: float
    others: float
    """Mean of the others' weights, by stake."""
    consensus: float
    """Weight above which ours counts for nothing, in the next epoch."""
    clipped: float
    """Part of our weight that counts for nothing."""


class ConsensusView(msgspec.Struct, frozen=True, kw_only=True):
    """Our weights beside the other validators'."""

    hotkey: Hotkey
    uid: int
    block: int
    """Block of the chain that was read."""
    epoch: int
    """Epoch, of the chain's own counter, of that block; it began with the values of the last one."""
    next_epoch_block: int
    validator_trust: float
    """Ours, in the last epoch."""
    dividends: float
    """Our part of the validators' rewards, in the last epoch."""
    emission: float
    """Tokens of the subnet that the last epoch paid us."""
    emission_per_day: float
    """The same, at the rate of the last epoch."""
    standing: Prediction
    """With our weights that are on chain."""
    proposed: Prediction | None
    """With the vector that was asked about, once it counts; None: none was."""
    permit: PermitPlace
    validators: list[ValidatorRow]
    """Those whose stake counts, the largest first."""
    miners: list[MinerRow]
    """Those on whom we differ most."""

    @property
    def next(self) -> Prediction:
        """The next epoch with our newest vector."""
        return self.proposed or self.standing
