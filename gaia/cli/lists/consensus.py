"""The command consensus: our weights beside the other validators', and the trust that they earn."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gaia.cli import tables
from gaia.cli.select import NotThere
from gaia.validator.app.meeting.engine_note import read_engine_note
from gaia.validator.db import history
from gaia.validator.db.states import STANDING, VectorState
from gaia.validator.utils.identities import Hotkey

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.core.consensus.reading import ConsensusRead
    from gaia.validator.core.consensus.yuma import Outcome
    from gaia.validator.db.rows import VectorRow
    from gaia.validator.utils.settings.chain import ChainSettings

_BLOCKS_PER_DAY: Final = 7200
_MOST_MINERS: Final = 20
_LEAST_DIFFERENCE: Final = 0.001
"""Part of a validator's weight below which a difference is not listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the next epoch gives us if nobody else changes anything."""

    vector: str
    """Which vector of ours it is computed with."""
    validator_trust: float
    dividends: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorRow:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerRow:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusView:
    """Our weights beside the other validators'."""

    hotkey: Hotkey
    uid: int
    block: int
    """Block of the chain that was read."""
    next_epoch_block: int
    validator_trust: float
    """Ours, in the last epoch."""
    dividends: float
    """Our part of the validators' rewards, in the last epoch."""
    emission_per_day: float
    """Tokens of the subnet, at the rate of the last epoch."""
    forecasts: Sequence[Forecast]
    validators: Sequence[ValidatorRow]
    """Those whose stake counts, the largest first."""
    miners: Sequence[MinerRow]
    """Those on whom we differ most."""


def consensus(source: Source, arguments: argparse.Namespace) -> int:
    """Print what the chain makes of our weights, now and in its next epoch."""
    settings = source.settings.chain
    hotkey = Hotkey(arguments.hotkey or _own_hotkey(source))
    unset = None if arguments.hotkey else _unset(source)
    read = asyncio.run(_read(settings, hotkey))
    found = view_of(read, hotkey, unset)
    if arguments.json:
        tables.print_json(found)
    else:
        _print(found)
    return 0


def _own_hotkey(source: Source) -> str:
    note = read_engine_note(source.data_dir)
    if note is None or note.metagraph.own is None:
        raise NotThere("no engine has found our hotkey on chain yet; name it with --hotkey")
    return note.metagraph.own.hotkey


def _unset(source: Source) -> VectorRow | None:
    """Return the newest journalled vector if the chain does not count it yet."""
    netuid = source.settings.chain.netuid
    rows = source.read(lambda connection: history.newest_vectors(connection, 1, netuid))
    return next((row for row in rows if row.state not in {*STANDING, VectorState.LOST}), None)


async def _read(settings: ChainSettings, hotkey: Hotkey) -> ConsensusRead:
    # Loads the chain's SDK, which `--help` does not need.
    from gaia.validator.core.chain.client import ChainClient
    from gaia.validator.core.consensus.reading import read_consensus
    from gaia.validator.utils.proxies import spare_loopback

    spare_loopback(settings.chain_endpoint)
    chain = await ChainClient.connect(settings.chain_endpoint, settings.chain_timeout_s)
    try:
        return await read_consensus(chain, settings.netuid, hotkey)
    finally:
        await chain.close()


def view_of(read: ConsensusRead, hotkey: Hotkey, unset: VectorRow | None) -> ConsensusView:
    """Return our weights beside the others', with what the next epoch gives.

    Raises
    ------
    NotThere
        If `hotkey` is not registered.
    """
    from gaia.validator.core.consensus.yuma import active_stake, run_epoch

    own = read.metagraph.own
    if own is None:
        raise NotThere(f"hotkey {hotkey} is not registered on subnet {read.metagraph.netuid}")
    standing = run_epoch(read.state)
    forecasts = [_forecast("on chain", standing, own.uid)]
    if unset is not None:
        row = {uid: value for uid, value in unset.vector}  # noqa: C416 - of lists
        changed = read.state.with_weights(own.uid, row, read.state.block - 1)
        forecasts.append(_forecast(f"epoch {unset.epoch}, {unset.state}", run_epoch(changed), own.uid))
    stake = active_stake(read.state)
    return ConsensusView(
        hotkey=hotkey,
        uid=own.uid,
        block=read.metagraph.block,
        next_epoch_block=read.state.block,
        validator_trust=read.validator_trust[own.uid],
        dividends=read.dividends[own.uid],
        emission_per_day=read.emission[own.uid] * _BLOCKS_PER_DAY / max(1, read.metagraph.tempo),
        forecasts=forecasts,
        validators=_validators(read, standing, [float(part) for part in stake], own.uid),
        miners=_miners(read, standing, [float(part) for part in stake], own.uid),
    )


def _forecast(vector: str, outcome: Outcome, uid: int) -> Forecast:
    return Forecast(
        vector=vector,
        validator_trust=float(outcome.validator_trust[uid]),
        dividends=float(outcome.dividends[uid]),
    )


def _validators(
    read: ConsensusRead, outcome: Outcome, stake: Sequence[float], own_uid: int
) -> list[ValidatorRow]:
    ours = outcome.shares[own_uid]
    rows = [
        ValidatorRow(
            uid=neuron.uid,
            hotkey=neuron.hotkey,
            stake=stake[neuron.uid],
            age_blocks=read.metagraph.block - neuron.last_update,
            validator_trust=read.validator_trust[neuron.uid],
            dividends=read.dividends[neuron.uid],
            distance=float(abs(theirs - ours).sum() / 2) if theirs.any() and ours.any() else None,
        )
        for neuron in read.metagraph.neurons
        if stake[neuron.uid] > 0.0
        for theirs in [outcome.shares[neuron.uid]]
    ]
    return sorted(rows, key=lambda row: (-row.stake, row.uid))


def _miners(read: ConsensusRead, outcome: Outcome, stake: Sequence[float], own_uid: int) -> list[MinerRow]:
    ours = outcome.shares[own_uid]
    others = _others(outcome, stake, own_uid)
    rows = [
        MinerRow(
            uid=neuron.uid,
            hotkey=neuron.hotkey,
            ours=float(ours[neuron.uid]),
            others=others.get(neuron.uid, 0.0),
            consensus=float(outcome.consensus[neuron.uid]),
            clipped=max(0.0, float(ours[neuron.uid] - outcome.consensus[neuron.uid])),
        )
        for neuron in read.metagraph.neurons
    ]
    differing = [row for row in rows if abs(row.ours - row.others) >= _LEAST_DIFFERENCE]
    return sorted(differing, key=lambda row: (-abs(row.ours - row.others), row.uid))[:_MOST_MINERS]


def _others(outcome: Outcome, stake: Sequence[float], own_uid: int) -> Mapping[int, float]:
    """Return uid -> mean of the others' weights for it, by stake."""
    voters = [uid for uid, part in enumerate(stake) if part and uid != own_uid and outcome.shares[uid].any()]
    total = sum(stake[uid] for uid in voters)
    if not total:
        return {}
    mean = sum(outcome.shares[uid] * (stake[uid] / total) for uid in voters)
    return {uid: float(value) for uid, value in enumerate(mean)}


def _print(found: ConsensusView) -> None:
    tables.print_lines(
        f"hotkey      {found.hotkey}, uid {found.uid}",
        f"chain       block {found.block}; the next epoch begins in block {found.next_epoch_block}",
        f"last epoch  vtrust {tables.shown(found.validator_trust)}, dividends {tables.shown(found.dividends)},"
        f" {tables.shown(found.emission_per_day)} tokens a day",
        *(
            f"next epoch  vtrust {tables.shown(row.validator_trust)}, dividends {tables.shown(row.dividends)}"
            f" with the weights {'on chain' if row.vector == 'on chain' else f'of {row.vector}'}"
            for row in found.forecasts
        ),
        "",
    )
    tables.print_table(
        (">uid", "validator", ">stake", ">age", ">vtrust", ">dividends", ">unlike us"),
        [
            (row.uid, row.hotkey, row.stake, row.age_blocks, row.validator_trust, row.dividends, row.distance)
            for row in found.validators
        ],
    )
    if not found.miners:
        tables.print_lines("", "We agree with the others on every miner.")
        return
    tables.print_lines("", "Miners on whom we differ most:")
    tables.print_table(
        (">uid", "miner", ">ours", ">others", ">consensus", ">clipped"),
        [(row.uid, row.hotkey, row.ours, row.others, row.consensus, row.clipped) for row in found.miners],
    )
