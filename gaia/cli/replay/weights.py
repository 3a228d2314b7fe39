"""Recomputes journalled weight vectors from their inputs, and overlaps from stored Gram matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.cli.replay.runs import Comparison
from gaia.tasks.defined_tasks.weather.copies.copy_book import overlaps_wanted, renamed_matrices
from gaia.tasks.defined_tasks.weather.copies.sketch_layout import MATRICES
from gaia.tasks.defined_tasks.weather.units import FindOverlaps, Overlaps
from gaia.validator.core.weights.inputs import InputsDamaged, VectorInputs, from_parts, vector_of

if TYPE_CHECKING:
    from gaia.validator.db.gram_matrices import GramMatrix
    from gaia.validator.db.rows import VectorRow

Finder = Callable[[FindOverlaps], Overlaps]
"""Function that runs the unit for overlaps; may raise a `GaiaError`."""

BEFORE = "its inputs were not stored, because an earlier release journalled it"


@dataclass(slots=True)
class VectorVerdict(Comparison):
    """Result of the replay of one journalled vector."""

    epoch: int
    run_ids: Sequence[str]
    notes: list[str] = field(default_factory=list)
    """Parts that could not be compared for an expected reason."""

    @property
    def is_known(self) -> bool:
        """Return whether the vector itself was recomputed."""
        return self.numbers > 0


def replay_vector(
    row: VectorRow, parts: Mapping[str, str], kept: Sequence[GramMatrix], data_dir: Path, overlaps: Finder
) -> VectorVerdict:
    """Recompute one vector and compare its overlaps, weights, values and digest.

    Parameters
    ----------
    row
        The vector's entry in the journal.
    parts
        Digest -> part of the vector's inputs.
    kept
        All Gram matrices that are still stored.
    overlaps
        Function that recomputes overlaps.
    """
    verdict = VectorVerdict(row.epoch, row.run_ids)
    if row.inputs is None:
        verdict.notes.append(BEFORE)
        return verdict
    try:
        inputs = from_parts(row.inputs, parts)
    except InputsDamaged as error:
        verdict.problems.append(str(error))
        return verdict
    weights = inputs.weights() or {}
    uids = inputs.present.uids
    vector, digest = vector_of(weights)
    verdict.compare("vector", row.vector, vector)
    verdict.compare("vector_sha256", row.vector_sha256, digest)
    for hotkey in sorted({*row.weights, *(hotkey for hotkey, uid in uids.items() if uid in weights)}):
        verdict.compare(f"weight of {hotkey}", row.weights.get(hotkey), weights.get(uids.get(hotkey, -1)))
    _compare_overlaps(verdict, inputs, kept, data_dir, overlaps)
    return verdict


def _compare_overlaps(
    verdict: VectorVerdict,
    inputs: VectorInputs,
    kept: Sequence[GramMatrix],
    data_dir: Path,
    overlaps: Finder,
) -> None:
    used = {(run_id, lead): sha256 for run_id, lead, sha256 in inputs.found.products}
    if not used:
        return
    there = [one for one in kept if used.get((one.run_id, one.lead_hours)) == one.sha256]
    if len(there) < len(used):
        verdict.notes.append(
            f"the journalled overlaps are used: {len(used) - len(there)} of their Gram matrices"
            " were deleted when the runs left the window"
        )
        return
    there = renamed_matrices(there, inputs.renamed)
    unit = overlaps_wanted(data_dir / MATRICES, there, inputs.members(), inputs.earning() or [])
    found = overlaps(unit)
    if found.missing:
        verdict.problems.append(f"Gram matrices {', '.join(found.missing)} are missing or changed")
        return
    stored = {(one, other): part for one, other, part in inputs.found.pairs}
    computed = {(one, other): part for one, other, part in found.pairs}
    verdict.compare("number of overlaps", len(stored), len(computed))
    for pair in sorted({*stored, *computed}):
        verdict.compare(f"overlap of {' and '.join(pair)}", stored.get(pair), computed.get(pair))
