"""The commands weights preview and weights history."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.lists.earned import Unpaid, unpaid
from gaia.cli.replay.units import pool
from gaia.cli.select import NotThere
from gaia.cli.snapshot import Snapshot, UnitsInPool
from gaia.tasks.defined_tasks.weather.copies.copy_book import CopyBook
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.meeting.engine_note import read_engine_note
from gaia.validator.core.weights.computing import VectorComputer
from gaia.validator.core.weights.inputs import from_parts
from gaia.validator.core.weights.setting import MECHANISM
from gaia.validator.db import history
from gaia.validator.db.journal import Epoch
from gaia.validator.db.rows import VectorOnChain

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.core.weights.computing import Computed
    from gaia.validator.core.weights.gates import Hold
    from gaia.validator.db.connection import Connection
    from gaia.validator.db.journal import Intent
    from gaia.validator.utils.chain.metagraph import Metagraph
    from gaia.validator.utils.settings.weights import WeightsSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One receiver of the weight."""

    uid: int
    hotkey: str
    value: int
    """Weight as the chain stores it; the largest is 65535."""
    share: float
    """Its part of the whole vector."""
    is_burn: bool
    """Whether what it receives is burnt."""
    worth: float | None
    """The number that its share follows from: its mean score, or the lower bound of its skill; None: it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The vector that would be journalled now."""

    epoch: int
    block: int
    """Block of the metagraph that it is computed with."""
    rule_set: str
    vector_sha256: str
    run_ids: Sequence[str]
    held_by: str
    """Gate that holds the vector, and why; "": none."""
    weights: Sequence[Share]
    """Receivers, the largest first."""
    unpaid: Sequence[Unpaid]
    """Registered hotkeys that get nothing, by uid."""
    on_chain: VectorOnChain | None
    """The newest vector of ours that is on chain."""


def preview(source: Source, arguments: argparse.Namespace) -> int:
    """Print the vector that the setter would journal now; nothing is signed or written."""
    note = read_engine_note(source.data_dir)
    if note is None:
        raise NotThere("no engine has read the chain yet, so it is not known who is registered")
    settings = source.settings
    # The lines that the setter logs are for the validator's log; here the reason is a sentence.
    configure_logging("CRITICAL", "console")
    with pool(1, source.data_dir) as executor:

        async def compute(connection: Connection) -> tuple[Computed, VectorOnChain | None]:
            database = Snapshot(connection)
            copies = CopyBook(settings.weather, database, UnitsInPool(executor))
            computer = VectorComputer(settings.weights, database, copies)
            computer.note_agreed(note.metagraph)
            epoch = Epoch(settings.chain.netuid, MECHANISM, note.metagraph.epoch)
            computed = await computer.compute(note.metagraph, epoch, note.now)
            return computed, await history.vector_on_chain(connection)

        computed, on_chain = source.read(compute)
    if computed.intent is None:
        reason = computed.hold.reason if computed.hold is not None else ""
        raise NotThere(f"no weights would be set now: {reason}")
    found = preview_of(computed.intent, computed.hold, note.metagraph, settings.weights, on_chain)
    if arguments.json:
        tables.print_json(found)
    else:
        _print(found)
    return 0


def preview_of(
    intent: Intent,
    hold: Hold | None,
    metagraph: Metagraph,
    weights: WeightsSettings,
    on_chain: VectorOnChain | None,
) -> Preview:
    """Return an intended vector with the hotkeys that receive it, the largest weight first."""
    hotkeys = {neuron.uid: neuron.hotkey for neuron in metagraph.neurons}
    burner = weights.burn_hotkey or metagraph.owner_hotkey
    inputs = from_parts(intent.inputs, intent.parts)
    worths = inputs.worths()
    total = sum(value for _, value in intent.vector)
    shares = [
        Share(
            uid=uid,
            hotkey=hotkeys[uid],
            value=value,
            share=value / total,
            is_burn=weights.burn_enabled and hotkeys[uid] == burner,
            worth=worths.get(hotkeys[uid]),
        )
        for uid, value in intent.vector
    ]
    return Preview(
        epoch=intent.epoch.number,
        block=metagraph.block,
        rule_set=intent.rule_set,
        vector_sha256=intent.vector_sha256,
        run_ids=intent.run_ids,
        held_by="" if hold is None else f"{hold.gate}: {hold.reason}",
        weights=sorted(shares, key=lambda share: (-share.value, share.uid)),
        unpaid=unpaid(inputs, intent.vector, metagraph),
        on_chain=on_chain,
    )


def past(source: Source, arguments: argparse.Namespace) -> int:
    """Print the newest journalled vectors, newest first."""
    found = source.read(lambda connection: history.recent_vectors(connection, arguments.last))
    if arguments.json:
        tables.print_json(found)
        return 0
    if not found:
        raise NotThere("no weights were computed yet")
    tables.print_table(
        (
            ">epoch",
            "state",
            ">block",
            "intended",
            "settled??",
            "rule set???",
            ">runs?",
            ">renews???",
            "extrinsic??",
            "~error",
        ),
        [
            (
                *(row.epoch, row.state, row.block, row.intended_at, row.settled_at),
                *(row.rule_set, row.runs, row.renews, row.extrinsic, row.error),
            )
            for row in found
        ],
    )
    return 0


def _print(found: Preview) -> None:
    standing = found.on_chain
    tables.print_lines(
        f"epoch     {found.epoch}, with the metagraph of block {found.block}",
        f"rules     {found.rule_set}, from {tables.counted(len(found.run_ids), 'run')}",
        f"sha256    {found.vector_sha256}",
        *([f"held by   {found.held_by}"] if found.held_by else []),
        f"on chain  {f'epoch {standing.epoch}, block {standing.block}' if standing else 'none of ours'}",
    )
    tables.print_table(
        (">uid", "hotkey", ">value", ">share", ">score?", "note??"),
        [
            (row.uid, row.hotkey, row.value, row.share, row.worth, "burnt" if row.is_burn else "")
            for row in found.weights
        ],
    )
    if found.unpaid:
        verb = "gets" if len(found.unpaid) == 1 else "get"
        tables.print_lines("", f"{tables.counted(len(found.unpaid), 'hotkey')} {verb} nothing:")
        tables.print_table(
            (">uid", "hotkey", "~reason"), [(row.uid, row.hotkey, row.reason) for row in found.unpaid]
        )
