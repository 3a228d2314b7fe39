"""Reads from the chain what an epoch of Yuma consensus is computed from."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gaia.validator.core.chain.reader import understanding
from gaia.validator.core.consensus.yuma import U16_MAX, ConsensusRules, LiquidAlpha, SubnetState
from gaia.validator.utils.chain.metagraph import RAO_PER_TOKEN, Metagraph
from gaia.validator.utils.errors import TransientError

if TYPE_CHECKING:
    from gaia.validator.core.chain.reader import ChainReader

_AT_ONCE: Final = 8
"""Queries for rows of weights and bonds that run at once: public nodes limit their rate."""
_MOST_EPOCHS: Final = 16
"""Epochs before the present one whose commits are looked at; a node may tell any period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusState:
    """The subnet before its next epoch, and what the last one gave, by uid."""

    metagraph: Metagraph
    state: SubnetState
    validator_trust: Sequence[float]
    dividends: Sequence[float]
    emission: Sequence[float]
    """Tokens of the subnet that the last epoch paid."""
    permits: int
    """Number of hotkeys that may set weights."""


async def read_consensus(chain: ChainReader, netuid: int, hotkey: str) -> ConsensusState:
    """Return all that the next epoch is computed from, as of one block.

    Raises
    ------
    TransientError
        If the chain cannot be read, or the subnet has no epochs.
    """
    metagraph = await chain.metagraph(netuid, hotkey)
    if metagraph.next_epoch_block is None:
        raise TransientError(f"subnet {netuid} has no epochs")
    block = metagraph.block
    permits = await chain.query("MaxAllowedValidators", netuid, block=block)
    with understanding("the number of permits"):
        places = int(permits)
    validators = [neuron.uid for neuron in metagraph.neurons if neuron.validator_permit]

    places_in_queue = asyncio.Semaphore(_AT_ONCE)

    async def row(item: str, uid: int) -> Any:
        async with places_in_queue:
            return await chain.query(item, netuid, uid, block=block)

    async def rows(item: str) -> dict[int, dict[int, int]]:
        read = await asyncio.gather(*(row(item, uid) for uid in validators))
        with understanding("weights and bonds"):
            pairs = zip(validators, read, strict=True)
            return {uid: {int(other): int(value) for other, value in row} for uid, row in pairs}

    async def column(item: str, unit: int) -> list[float]:
        values = await chain.query(item, netuid, block=block)
        with understanding(f"the column {item}"):
            found = [int(value) / unit for value in values]
        return [*found, *([0.0] * (len(metagraph.neurons) - len(found)))]

    uids = {neuron.hotkey: neuron.uid for neuron in metagraph.neurons}
    state = SubnetState(
        block=metagraph.next_epoch_block,
        tempo=metagraph.tempo,
        stake=[neuron.stake for neuron in metagraph.neurons],
        permits=[neuron.validator_permit for neuron in metagraph.neurons],
        last_update=[neuron.last_update for neuron in metagraph.neurons],
        registered_at=[neuron.registered_at for neuron in metagraph.neurons],
        weights=await rows("Weights"),
        bonds=await rows("Bonds"),
        rules=await _rules(chain, metagraph),
        owner_uid=next((uid for name, uid in uids.items() if name == metagraph.owner_hotkey), None),
        commits=await _commits(chain, metagraph, {str(name): uid for name, uid in uids.items()}),
    )
    return ConsensusState(
        metagraph=metagraph,
        state=state,
        validator_trust=await column("ValidatorTrust", U16_MAX),
        dividends=await column("Dividends", U16_MAX),
        emission=await column("Emission", RAO_PER_TOKEN),
        permits=places,
    )


async def _rules(chain: ChainReader, metagraph: Metagraph) -> ConsensusRules:
    async def read(item: str) -> Any:
        return await chain.query(item, metagraph.netuid, block=metagraph.block)

    kappa, penalty, average = [await read(item) for item in ("Kappa", "BondsPenalty", "BondsMovingAverage")]
    yuma3, liquid = await read("Yuma3On"), await read("LiquidAlphaOn")
    threshold = await chain.query("StakeThreshold", block=metagraph.block)
    alpha = None
    if liquid:
        values, steepness = await read("AlphaValues"), await read("AlphaSigmoidSteepness")
        with understanding("the rules of the bonds"):
            low, high = values
            alpha = LiquidAlpha(low=int(low) / U16_MAX, high=int(high) / U16_MAX, steepness=float(steepness))
    with understanding("the rules of the consensus"):
        return ConsensusRules(
            activity_cutoff=metagraph.activity_cutoff,
            kappa=int(kappa) / U16_MAX,
            bonds_penalty=int(penalty) / U16_MAX,
            bonds_moving_average=int(average) / 10**6,
            yuma3=bool(yuma3),
            liquid_alpha=alpha,
            stake_threshold=int(threshold) / RAO_PER_TOKEN,
        )


async def _commits(chain: ChainReader, metagraph: Metagraph, uids: Mapping[str, int]) -> dict[int, int]:
    """Return validator -> block of its oldest sealed weights that wait for their reveal."""
    if not metagraph.commit_reveal:
        return {}
    netuid, block = metagraph.netuid, metagraph.block
    period = await chain.query("RevealPeriodEpochs", netuid, block=block)
    found: dict[int, int] = {}
    with understanding("the reveal period"):
        first = max(0, metagraph.epoch - min(int(period), _MOST_EPOCHS))
    for epoch in range(first, metagraph.epoch + 1):
        queue = await chain.query("TimelockedWeightCommits", netuid, epoch, block=block)
        with understanding("the commits"):
            for hotkey, committed, *_ in queue:
                if (uid := uids.get(str(hotkey))) is not None:
                    found[uid] = min(int(committed), found.get(uid, int(committed)))
    return found
