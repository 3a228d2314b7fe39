"""The command weights verify: what the chain holds of our weights against the journal, row by row."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from gaia.cli import tables
from gaia.cli.nodes import chain_of
from gaia.cli.select import NotThere
from gaia.validator.app.meeting.engine_note import read_engine_note
from gaia.validator.core.weights.doubts import Held, as_stored, has_fewer, has_weights_of, is_held
from gaia.validator.db import history
from gaia.validator.db.states import STANDING, VectorState
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.identities import Hotkey

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.db.rows import VectorRow
    from gaia.validator.utils.settings.chain import ChainSettings

_RETRIED: Final = frozenset({VectorState.INTENDED, VectorState.FAILED})
_MAY_BE_QUEUED: Final = _RETRIED | {VectorState.COMMITTED}


class Verdict(StrEnum):
    """Result of the comparison of one row."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNKNOWN = "unknown"
    """The chain, or the node that was asked, cannot tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One row of the journal beside the chain."""

    epoch: int
    state: VectorState
    block: int | None
    """Block in which the journal has it; of a commit, that of the commit."""
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The chain and the newest rows of the journal."""

    hotkey: str
    block: int
    """Block of the chain at which its present weights were read."""
    last_update: int
    """Block of our last weights or commit on chain; 0: never."""
    is_explained: bool
    """Whether a row of the journal has that block, or all rows are newer."""
    rows: Sequence[Compared]
    """Newest first."""

    @property
    def is_well(self) -> bool:
        """Return whether nothing differs."""
        return self.is_explained and all(row.verdict is not Verdict.DIFFERS for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRead:
    """What the chain says about the rows of the journal."""

    held: Held
    """Our weights now."""
    pairs: Mapping[int, Sequence[Sequence[int]]]
    """Block -> [uid, u16] pairs of ours in it, as far as the node knows them."""
    commits: Mapping[int, Sequence[int]]
    """Epoch -> blocks of our commits in the chain's queue."""
    registered: int
    """Block of our registration, which dates our neuron too."""
    ends: str
    """Why older blocks are unknown; "": none was asked in vain."""


class _OwnCommit(Protocol):
    @property
    def block(self) -> int: ...


def verify(source: Source, arguments: argparse.Namespace) -> int:
    """Print for each journalled vector whether the chain holds what the journal says; exit code 1 if not."""
    netuid = source.settings.chain.netuid
    rows = source.read(lambda connection: history.newest_vectors(connection, arguments.last, netuid))
    if not rows:
        raise NotThere("no weights were computed yet, so there is nothing to compare")
    hotkey = Hotkey(arguments.hotkey or _own_hotkey(source))
    read = asyncio.run(read_chain(source.settings.chain, hotkey, rows))
    found = verification(hotkey, rows, read)
    if arguments.json:
        tables.print_json(found)
    else:
        _print(found)
    return 0 if found.is_well else 1


def _own_hotkey(source: Source) -> str:
    note = read_engine_note(source.data_dir)
    if note is None or note.metagraph.own is None:
        raise NotThere("no engine has found our hotkey on chain yet; name it with --hotkey")
    return note.metagraph.own.hotkey


async def read_chain(settings: ChainSettings, hotkey: Hotkey, rows: Sequence[VectorRow]) -> ChainRead:
    """Return what the chain says about `rows`, given newest first.

    A node keeps the state of some blocks only. After the first that it does not know, no older one is asked.

    Raises
    ------
    TransientError
        If the node does not answer, or does not know the hotkey.
    """
    from gaia.validator.core.chain.commits import Commits
    from gaia.validator.core.chain.plain_weights import PlainWeights

    async with chain_of(settings) as chain:
        held = await PlainWeights(chain, settings.netuid, hotkey).held()
        queue = Commits(chain, settings.netuid, hotkey)
        commits: dict[int, list[int]] = {}
        own_uid = await chain.own_uid_of(settings.netuid, hotkey, held.block)
        registered = await chain.query("BlockAtRegistration", settings.netuid, own_uid, block=held.block)
        for row in rows:
            if row.state in _MAY_BE_QUEUED:
                queued: Sequence[_OwnCommit] = await queue.queued(row.epoch)
                commits[row.epoch] = [commit.block for commit in queued]
        pairs: dict[int, list[list[int]]] = {}
        ends = ""
        for block in [row.block for row in rows if row.state in STANDING and row.block is not None]:
            try:
                uid = await chain.own_uid_of(settings.netuid, hotkey, block)
                pairs[block] = await chain.pairs(settings.netuid, uid, block)
            except TransientError as error:
                ends = f"block {block} cannot be read: {error}"
                break
        return ChainRead(held=held, pairs=pairs, commits=commits, registered=int(registered), ends=ends)


def verification(hotkey: str, rows: Sequence[VectorRow], read: ChainRead) -> Verification:
    """Return the comparison of `rows`, given newest first, with the chain."""
    held = read.held
    known = {block for row in rows for block in (row.block, row.commit_block) if block is not None}
    known |= {block for blocks in read.commits.values() for block in blocks}
    newest = next((row for row in rows if row.state in STANDING), None)
    compared = [_compared(row, read, is_newest=row is newest, known=known) for row in rows]
    first = min(row.promised_block or row.block or 0 for row in rows)
    is_explained = (
        held.last_update in known
        or held.last_update <= max(first, read.registered)
        or any(_explains(row, held) for row in rows)
    )
    return Verification(
        hotkey=hotkey,
        block=held.block,
        last_update=held.last_update,
        is_explained=is_explained,
        rows=compared,
    )


def _explains(row: VectorRow, held: Held) -> bool:
    """Return whether our last update is of this row, which does not have its block.

    The row of a vector that is on chain against the journal, or not noted yet, has none. That of a revealed one has
    the block in which the reveal was found.
    """
    if held.last_update <= (row.promised_block or 0) or not _is_of(held.pairs, row):
        return False
    if row.state is VectorState.REVEALED:
        return row.block is not None and held.last_update <= row.block
    return row.state not in STANDING


def _compared(row: VectorRow, read: ChainRead, *, is_newest: bool, known: set[int]) -> Compared:
    if row.state in STANDING:
        verdict, reason = _standing(row, read, is_newest=is_newest)
    elif row.state is VectorState.COMMITTED:
        verdict, reason = _committed(row, read)
    else:
        verdict, reason = _not_on_chain(row, read, known)
    block = row.commit_block if row.state is VectorState.COMMITTED else row.block
    return Compared(epoch=row.epoch, state=row.state, block=block, verdict=verdict, reason=reason)


def _standing(row: VectorRow, read: ChainRead, *, is_newest: bool) -> tuple[Verdict, str]:
    """Judge a vector that the journal says is, or was, on chain."""
    if row.block is None:
        return Verdict.UNKNOWN, "the journal has no block of it"
    pairs = read.pairs.get(row.block)
    if pairs is not None:
        # A uid that was registered anew in that block has a weight of 0.
        is_cleared = any(not weight for _, weight in pairs)
        if as_stored(pairs) == as_stored(row.vector) or (is_cleared and is_held(pairs, row.vector)):
            return Verdict.AGREES, ""
        if as_stored(pairs) == as_stored(_moved(row)):
            if has_fewer(pairs, row.vector):
                return Verdict.AGREES, "without those who had left"
            return Verdict.UNKNOWN, "its weights are under other uids; scripts/verify_weights.py can tell why"
        return Verdict.DIFFERS, f"the chain held other weights in block {row.block}"
    if is_newest and _is_of(read.held.pairs, row):
        return Verdict.AGREES, f"it stands in block {read.held.block}"
    return Verdict.UNKNOWN, read.ends


def _is_of(pairs: Sequence[Sequence[int]], row: VectorRow) -> bool:
    """Return whether the chain's pairs are the row's vector, or what followed from it when it was set."""
    is_moved = has_weights_of(pairs, row.vector) if row.read_back is None else is_held(pairs, _moved(row))
    return is_held(pairs, row.vector) or is_moved


def _moved(row: VectorRow) -> Sequence[Sequence[int]]:
    """Return the row's weights with the uids that they were set for, as the journal read them back; [] if unknown."""
    return row.read_back if row.read_back and has_weights_of(row.read_back, row.vector) else []


def _committed(row: VectorRow, read: ChainRead) -> tuple[Verdict, str]:
    """Judge a vector that the journal says waits for its reveal."""
    if row.commit_block in read.commits.get(row.epoch, ()):
        return Verdict.AGREES, "it waits for its reveal"
    if _is_of(read.held.pairs, row):
        return Verdict.AGREES, f"revealed: it stands in block {read.held.block}"
    return Verdict.UNKNOWN, "it left the chain's queue; the engine finds out whether it was revealed"


def _not_on_chain(row: VectorRow, read: ChainRead, known: set[int]) -> tuple[Verdict, str]:
    """Judge a vector that the journal says is not, or not yet, on chain."""
    held = read.held
    if queued := read.commits.get(row.epoch):
        return Verdict.UNKNOWN, f"a commit of block {queued[-1]} waits; the engine has not noted it yet"
    is_newer = held.last_update > (row.promised_block or 0) and held.last_update not in known
    if is_newer and _is_of(held.pairs, row):
        since = f"the chain holds it since block {held.last_update}"
        if row.state in _RETRIED:
            return Verdict.UNKNOWN, f"{since}; the engine has not noted it yet"
        return Verdict.DIFFERS, since
    will = "; it is tried again" if row.state in _RETRIED else ""
    return Verdict.AGREES, f"not on chain in block {held.block}{will}"


def _print(found: Verification) -> None:
    last = f"block {found.last_update}" if found.last_update else "never"
    tables.print_lines(
        f"hotkey  {found.hotkey}",
        f"chain   block {found.block}, our last weights or commit: {last}",
    )
    tables.print_table(
        (">epoch", "state", ">block", "chain", "~note?"),
        [(row.epoch, row.state, row.block, row.verdict, row.reason) for row in found.rows],
    )
    if not found.is_explained:
        tables.print_lines(
            f"No row explains the weights of block {found.last_update}: another program signs with this hotkey,"
            " or the journal was restored from a backup."
        )
