"""Reads the last vector, which a new one is compared with, and which is set again while a new one is held."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from gaia.validator.core.weights.gates import LastVector
from gaia.validator.core.weights.inputs import (
    RENEWAL_OF,
    InputsDamaged,
    VectorInputs,
    from_parts,
    parts_named,
)
from gaia.validator.core.weights.renaming import Names, swapped_since, with_names
from gaia.validator.db import history, journal
from gaia.validator.db.journal import LastEntry

if TYPE_CHECKING:
    from gaia.validator.db.connection import Database
    from gaia.validator.db.journal import Epoch
    from gaia.validator.utils.chain.metagraph import Metagraph

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVector:
    """The newest vector that can be read."""

    entry: LastEntry
    inputs: VectorInputs
    block: int
    """Block of the metagraph that it was computed with."""
    first_epoch: int
    """Epoch for which it was computed; another one than its own if it was set again."""
    swapped: Names = field(default_factory=dict)
    """Hotkeys that were swapped since for others, under which everything stands here."""

    @property
    def vector(self) -> LastVector:
        weights = {self.swapped.get(hotkey, hotkey): weight for hotkey, weight in self.entry.weights.items()}
        return LastVector(weights=weights, inputs=self.inputs)

    def named_as_in(self, metagraph: Metagraph) -> StoredVector:
        """Return the vector with the hotkeys that its miners have in `metagraph`."""
        swapped = swapped_since(self.inputs, metagraph)
        return replace(self, inputs=with_names(self.inputs, swapped), swapped=swapped)


async def read_last(
    database: Database, epoch: Epoch, metagraph: Metagraph
) -> tuple[StoredVector | None, bool]:
    """Return (the newest vector that can be read, whether there is any), as of `metagraph`.

    Raises
    ------
    DatabaseFailure
        If the database failed.
    """
    entries = await database.run(
        lambda connection: journal.last_entries(connection, epoch.netuid, epoch.mechid, metagraph.block)
    )
    for entry in entries:
        if entry.inputs is None or entry.promised_block is None:
            continue  # an earlier release journalled it
        names = parts_named(entry.inputs)
        parts = await database.run(partial(history.weight_inputs, digests=names))
        try:
            inputs = from_parts(entry.inputs, parts)
        except InputsDamaged as error:
            log.error(
                "last_vector_unreadable",
                epoch=entry.epoch,
                error=str(error),
                once=("last vector", entry.epoch),
            )
            continue
        return (
            StoredVector(
                entry=entry,
                inputs=inputs,
                block=entry.promised_block,
                first_epoch=entry.inputs.get(RENEWAL_OF, entry.epoch),
            ).named_as_in(metagraph),
            True,
        )
    return None, bool(entries)
