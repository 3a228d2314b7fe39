"""The command export weights: the inputs of journalled vectors, for anybody to verify."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gaia.cli import tables
from gaia.cli.arguments import NotWritten
from gaia.cli.select import NotThere
from gaia.validator.app.meeting.engine_note import read_engine_note
from gaia.validator.core.weights.inputs import parts_named
from gaia.validator.db import history
from gaia.validator.db.states import VectorState
from gaia.validator.utils.files import put_file

if TYPE_CHECKING:
    from pathlib import Path

    from gaia.cli.source import Source
    from gaia.validator.db.connection import Connection
    from gaia.validator.db.rows import VectorRow

_FORMAT: Final = 1


class ExportedVector(msgspec.Struct, frozen=True, kw_only=True):
    """One file: a journalled vector, and everything that it was computed from."""

    format: int = _FORMAT
    """Version of this layout."""
    hotkey: str
    """Our hotkey; "" if it is not known."""
    netuid: int
    mechid: int
    epoch: int
    state: VectorState
    rule_set: str
    computed_in: int | None
    """Block of the metagraph that it was computed with."""
    block: int | None
    """Block in which it was set or revealed; None: it was not."""
    block_hash: str | None
    vector: Sequence[Sequence[int]]
    """[uid, u16] pairs."""
    vector_sha256: str
    weights: Mapping[str, float]
    """Hotkey -> weight before quantisation."""
    inputs: Mapping[str, Any]
    """Names of the parts, by digest."""
    parts: Mapping[str, str]
    """Digest -> JSON text of a part."""


def export_weights(source: Source, arguments: argparse.Namespace) -> int:
    """Write one file per vector with everything that it was computed from; verify_weights.py checks them."""

    async def read(connection: Connection) -> tuple[list[VectorRow], dict[str, str]]:
        rows = await history.newest_vectors(connection, arguments.last)
        digests = {digest for row in rows if row.inputs is not None for digest in parts_named(row.inputs)}
        return rows, await history.weight_inputs(connection, sorted(digests))

    rows, parts = source.read(read)
    known = [row for row in rows if row.inputs is not None]
    if not known:
        raise NotThere("no weights with stored inputs were computed yet, so there is nothing to write")
    note = read_engine_note(source.data_dir)
    own = note.metagraph.own if note is not None else None
    written = []
    for row in known:
        path: Path = arguments.folder / f"weights-{row.netuid}-{row.epoch}.json"
        _write(path, record_of(row, parts, own.hotkey if own else ""))
        written.append(str(path))
    if arguments.json:
        tables.print_json({"files": written, "without_inputs": len(rows) - len(known)})
    else:
        older = len(rows) - len(known)
        tables.print_lines(
            f"{arguments.folder}: {tables.counted(len(written), 'file')}",
            *([f"{older} older without stored inputs were left out"] if older else []),
        )
    return 0


def record_of(row: VectorRow, parts: Mapping[str, str], hotkey: str) -> ExportedVector:
    """Return the content of one file; parts that are missing from the database are left out.

    Parameters
    ----------
    parts
        Digest -> stored text of a part, of this vector and others.
    hotkey
        Our hotkey; "" if it is not known.
    """
    assert row.inputs is not None
    return ExportedVector(
        hotkey=hotkey,
        netuid=row.netuid,
        mechid=row.mechid,
        epoch=row.epoch,
        state=row.state,
        rule_set=row.rule_set,
        computed_in=row.promised_block,
        block=row.block,
        block_hash=row.block_hash,
        vector=row.vector,
        vector_sha256=row.vector_sha256,
        weights=row.weights,
        inputs=row.inputs,
        parts={digest: parts[digest] for digest in parts_named(row.inputs) if digest in parts},
    )


def _write(path: Path, vector: ExportedVector) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put_file(path, msgspec.json.format(msgspec.json.encode(vector), indent=1) + b"\n")
    except OSError as error:
        raise NotWritten(f"{path} cannot be written: {error.strerror or error}") from error
