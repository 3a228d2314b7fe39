"""Computes journalled weight vectors anew from what they were computed from, and overlaps from kept products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.cli.replay.runs import Comparison
from gaia.tasks.defined_tasks.weather.copies.copy_book import overlaps_wanted
from gaia.tasks.defined_tasks.weather.copies.sketch_layout import PRODUCTS
from gaia.tasks.defined_tasks.weather.units import FindOverlaps, Overlaps
from gaia.validator.core.weights.inputs import InputsDamaged, VectorInputs, read, vector_of

if TYPE_CHECKING:
    from gaia.validator.db.gram_matrices import GramMatrix
    from gaia.validator.db.rows import VectorRow

Finder = Callable[[FindOverlaps], Overlaps]
"""Answers the unit that finds overlaps; may raise a `GaiaError`."""

BEFORE = "it was journalled before what vectors are computed from was kept"


@dataclass(slots=True)
class VectorVerdict(Comparison):
    """What came of one journalled vector."""

    epoch: int
    run_ids: Sequence[str]
    notes: list[str] = field(default_factory=list)
    """What could not be looked at, as is to be expected."""

    @property
    def is_known(self) -> bool:
        """Say whether the vector itself was computed anew."""
        return self.numbers > 0


def replay_vector(
    row: VectorRow, parts: Mapping[str, str], kept: Sequence[GramMatrix], data_dir: Path, overlaps: Finder
) -> VectorVerdict:
    """Compute one vector anew, and compare: overlaps, weights, vector, digest.

    Parameters
    ----------
    row
        Its entry in the journal.
    parts
        Digest -> part of what it was computed from.
    kept
        All products that are still there.
    overlaps
        Finds overlaps anew.
    """
    verdict = VectorVerdict(row.epoch, row.run_ids)
    if row.inputs is None:
        verdict.notes.append(BEFORE)
        return verdict
    try:
        inputs = read(row.inputs, parts)
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
            f"overlaps are taken as they were journalled: {len(used) - len(there)} of the products they came of"
            " are gone, since their runs left the window"
        )
        return
    unit = overlaps_wanted(data_dir / PRODUCTS, there, inputs.members(), inputs.earning() or [])
    found = overlaps(unit)
    if found.missing:
        verdict.problems.append(f"products {', '.join(found.missing)} are gone or were changed")
        return
    stored = {(one, other): part for one, other, part in inputs.found.pairs}
    computed = {(one, other): part for one, other, part in found.pairs}
    verdict.compare("number of overlaps", len(stored), len(computed))
    for pair in sorted({*stored, *computed}):
        verdict.compare(f"overlap of {' and '.join(pair)}", stored.get(pair), computed.get(pair))
