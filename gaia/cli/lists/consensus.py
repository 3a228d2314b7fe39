"""The command consensus: our weights beside the other validators', and the trust that they earn."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from gaia.cli import tables
from gaia.cli.nodes import chain_of
from gaia.cli.select import NotThere
from gaia.validator.app.meeting.engine_note import read_engine_note
from gaia.validator.core.consensus.reasons import Replay
from gaia.validator.core.weights.inputs import VectorInputs, from_parts, parts_named
from gaia.validator.db import history
from gaia.validator.db.rows import ConsensusDay, VectorRow
from gaia.validator.db.states import STANDING, VectorState
from gaia.validator.utils.identities import Hotkey

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.core.consensus.reading import ConsensusState
    from gaia.validator.db.connection import Connection
    from gaia.validator.utils.chain.consensus import ConsensusView
    from gaia.validator.utils.settings.chain import ChainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the database knows of our own weights."""

    days: Sequence[ConsensusDay] = ()
    """What the chain gave us on each of the newest days."""
    newest: VectorRow | None = None
    """Our newest journalled vector; None if there is none."""
    inputs: VectorInputs | None = None
    """What it was computed from; None if that was not stored."""

    @property
    def unset(self) -> VectorRow | None:
        """The newest vector if the chain does not count it yet."""
        row = self.newest
        return None if row is None or row.state in {*STANDING, VectorState.LOST} else row


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons:
    """Our newest vector under single changes, and what explains each difference."""

    replays: Sequence[Replay] = ()
    by_uid: Mapping[int, str] = field(default_factory=dict)
    """Miner on whom we differ -> the change or fact that explains it; missing: none does."""


def consensus(source: Source, arguments: argparse.Namespace) -> int:
    """Print what the chain makes of our weights, now and in its next epoch."""
    settings = source.settings.chain
    hotkey = Hotkey(arguments.hotkey or _own_hotkey(source))
    stored = Stored()
    if not arguments.hotkey:
        stored = source.read(lambda connection: _stored(connection, settings.netuid, hotkey, arguments.days))
    read = asyncio.run(_read(settings, hotkey))
    if read.metagraph.own is None:
        raise NotThere(f"hotkey {hotkey} is not registered on subnet {settings.netuid}")
    from gaia.validator.core.consensus.comparing import view_of

    found = view_of(read, stored.unset.vector if stored.unset is not None else None)
    reasons = _reasons(read, found, stored.inputs)
    if arguments.json:
        tables.print_json(_answer(found, stored, reasons))
    else:
        _print(found, stored, reasons)
    return 0


def _own_hotkey(source: Source) -> str:
    note = read_engine_note(source.data_dir)
    if note is None or note.metagraph.own is None:
        raise NotThere("no engine has found our hotkey on chain yet; name it with --hotkey")
    return note.metagraph.own.hotkey


async def _stored(connection: Connection, netuid: int, hotkey: Hotkey, days: int) -> Stored:
    rows = await history.newest_vectors(connection, 1, netuid)
    newest = rows[0] if rows else None
    inputs = None
    if newest is not None and newest.inputs is not None:
        parts = await history.weight_inputs(connection, parts_named(newest.inputs))
        inputs = from_parts(newest.inputs, parts)
    return Stored(
        days=await history.consensus_days(connection, netuid, hotkey, days), newest=newest, inputs=inputs
    )


async def _read(settings: ChainSettings, hotkey: Hotkey) -> ConsensusState:
    from gaia.validator.core.consensus.reading import read_consensus

    async with chain_of(settings) as chain:
        return await read_consensus(chain, settings.netuid, hotkey)


def _reasons(read: ConsensusState, found: ConsensusView, inputs: VectorInputs | None) -> Reasons:
    """Return what explains the differences; nothing where there are none, or the inputs are not known."""
    from gaia.validator.core.consensus.comparing import others_of
    from gaia.validator.core.consensus.reasons import reason_of, replays_of

    others = others_of(read, found.uid)
    if inputs is None or not others or not found.miners:
        return Reasons()
    replays = replays_of(inputs, others)
    by_uid = {row.uid: reason_of(row.uid, row.others, replays, inputs) for row in found.miners}
    return Reasons(replays=replays, by_uid={uid: reason for uid, reason in by_uid.items() if reason})


def _answer(found: ConsensusView, stored: Stored, reasons: Reasons) -> Mapping[str, object]:
    unset = stored.unset
    return {
        **msgspec.to_builtins(found),
        "proposed_epoch": None if unset is None else unset.epoch,
        "days": [{**msgspec.to_builtins(day)} for day in stored.days],
        "replays": [{"change": each.change, "distance": each.distance} for each in reasons.replays],
        "reasons": {str(uid): reason for uid, reason in reasons.by_uid.items()},
    }


def _print(found: ConsensusView, stored: Stored, reasons: Reasons) -> None:
    shown, unset = tables.shown, stored.unset
    predictions = [(found.standing, "on chain")]
    if found.proposed is not None and unset is not None:
        predictions.append((found.proposed, f"of epoch {unset.epoch}, {unset.state}"))
    permit = found.permit
    tables.print_lines(
        f"hotkey      {found.hotkey}, uid {found.uid}",
        f"chain       block {found.block}; the next epoch begins in block {found.next_epoch_block}",
        f"permit      place {permit.rank} by stake, of {permit.places}; margin {shown(permit.margin)} tokens",
        f"last epoch  vtrust {shown(found.validator_trust)}, dividends {shown(found.dividends)},"
        f" {shown(found.emission_per_day)} tokens a day",
        *(
            f"next epoch  vtrust {shown(row.validator_trust)}, dividends {shown(row.dividends)}"
            f" with the weights {which}"
            for row, which in predictions
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
    _print_miners(found, reasons)
    _print_days(stored.days)


def _print_miners(found: ConsensusView, reasons: Reasons) -> None:
    if not found.miners:
        tables.print_lines("", "We agree with the others on every miner.")
        return
    tables.print_lines("", "Miners on whom we differ most:")
    tables.print_table(
        (">uid", "miner", ">ours", ">others", ">consensus", ">clipped", "why"),
        [
            (
                row.uid,
                row.hotkey,
                row.ours,
                row.others,
                row.consensus,
                row.clipped,
                reasons.by_uid.get(row.uid, ""),
            )
            for row in found.miners
        ],
    )
    if reasons.replays:
        tables.print_lines("", "Our newest vector under one change at a time:")
        tables.print_table(
            ("change", ">unlike the others"), [(each.change, each.distance) for each in reasons.replays]
        )


def _print_days(days: Sequence[ConsensusDay]) -> None:
    if days:
        tables.print_lines("", "What the chain gave us, by day (UTC):")
        tables.print_table(
            ("day", ">epochs", ">vtrust", ">least", ">dividends", ">tokens"),
            [
                (
                    day.day.isoformat(),
                    day.epochs,
                    day.validator_trust,
                    day.least_trust,
                    day.dividends,
                    day.emission,
                )
                for day in days
            ],
        )
