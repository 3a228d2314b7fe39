"""The commands weights preview and weights history."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from gaia.cli import tables
from gaia.cli.lists.earned import Unpaid, unpaid
from gaia.cli.replay.units import pool
from gaia.cli.select import NotThere
from gaia.cli.snapshot import Snapshot, UnitsInPool
from gaia.tasks.defined_tasks.weather.copies.copy_book import CopyBook
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.meeting.engine_note import EngineNote, read_engine_note
from gaia.validator.core.weights.inputs import from_parts
from gaia.validator.core.weights.setting import WeightSetter
from gaia.validator.db import history, journal
from gaia.validator.db.rows import VectorOnChain
from gaia.validator.utils.errors import NotYetAvailable

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.tasks.defined_tasks.base import FoundCopies
    from gaia.validator.db.connection import Connection
    from gaia.validator.db.journal import Intent
    from gaia.validator.utils.settings.weights import WeightsSettings
    from gaia.validator.utils.signer_messages import CommitAsked, JournalledVector, Metagraph, SealedWeights


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

        async def compute(connection: Connection) -> tuple[Intent | None, str, VectorOnChain | None]:
            database, view = Snapshot(connection), _Noted(note)
            copies = _Copies(CopyBook(settings.weather, database, UnitsInPool(executor)))
            setter = WeightSetter(settings.chain, settings.weights, database, _NoSigner(), view, copies)
            intent = await setter.preview(note.metagraph)
            reason = "" if intent else copies.reason or await _reason(connection, settings.weights)
            return intent, reason, await history.vector_on_chain(connection)

        intent, reason, on_chain = source.read(compute)
    if intent is None:
        raise NotThere(f"no weights would be set now: {reason}")
    found = preview_of(intent, note.metagraph, settings.weights, on_chain)
    if arguments.json:
        tables.print_json(found)
    else:
        _print(found)
    return 0


async def _reason(connection: Connection, weights: WeightsSettings) -> str:
    """Return why there is no vector, if copies are not the reason."""
    window = timedelta(days=weights.weights_window_days)
    scores = await journal.window_scores(connection, weights.rule_set, window)
    return "no hotkey can receive the weight" if scores else "no score in the window"


def preview_of(
    intent: Intent, metagraph: Metagraph, weights: WeightsSettings, on_chain: VectorOnChain | None
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
            "extrinsic??",
            "~error",
        ),
        [
            (
                *(row.epoch, row.state, row.block, row.intended_at, row.settled_at),
                *(row.rule_set, row.runs, row.extrinsic, row.error),
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


class _Noted:
    """The metagraph in an engine's note."""

    def __init__(self, note: EngineNote) -> None:
        self._metagraph = note.metagraph

    def latest(self) -> Metagraph:
        return self._metagraph


class _Copies:
    """Finds copies, and remembers why they could not be found yet."""

    def __init__(self, copies: CopyBook) -> None:
        self._copies = copies
        self.reason = ""

    async def find(self, members: Mapping[str, Collection[str]], earning: Sequence[str]) -> FoundCopies:
        try:
            return await self._copies.find(members, earning)
        except NotYetAvailable as error:
            self.reason = str(error)
            raise


class _NoSigner:
    """A signer that refuses everything, because a preview signs nothing."""

    async def set_weights(self, vector: JournalledVector, promised_block: int | None) -> NoReturn:
        raise AssertionError(f"a preview signs nothing: {vector}, promised in block {promised_block}")

    async def read_weights(self) -> NoReturn:
        raise AssertionError("a preview reads no chain")

    async def check_update(self) -> NoReturn:
        raise AssertionError("a preview reads no chain")

    async def seal_weights(self, vector: JournalledVector) -> NoReturn:
        raise AssertionError(f"a preview seals nothing: {vector}")

    async def commit_weights(self, sealed: SealedWeights) -> NoReturn:
        raise AssertionError(f"a preview commits nothing: {sealed}")

    async def read_commits(self, commits: Sequence[CommitAsked]) -> NoReturn:
        raise AssertionError(f"a preview reads no chain: {commits}")
