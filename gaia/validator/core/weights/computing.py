"""Computes the vector of an epoch from the scores of the window, and says what holds it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from gaia.validator.core.weights.gates import (
    Gate,
    Hold,
    Limits,
    hold_on_change,
    hold_on_data,
    shares_of,
)
from gaia.validator.core.weights.hold_clock import HoldClock
from gaia.validator.core.weights.inputs import (
    RENEWAL_OF,
    VectorInputs,
    to_parts,
    vector_of,
)
from gaia.validator.core.weights.last_vector import StoredVector, read_last
from gaia.validator.core.weights.registry import (
    Reading,
    Readings,
    confirmed,
    reading_of,
    renewed,
    unconfirmed,
)
from gaia.validator.core.weights.vector import registered
from gaia.validator.core.weights.window import inputs_of
from gaia.validator.db import journal
from gaia.validator.db.failures import DatabaseFailure
from gaia.validator.db.journal import Intent
from gaia.validator.utils.errors import GaiaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from gaia.tasks.defined_tasks.base import CopyFinder
    from gaia.validator.db.connection import Database
    from gaia.validator.db.journal import Epoch, WindowScore
    from gaia.validator.utils.chain.metagraph import Metagraph
    from gaia.validator.utils.settings.weights import WeightsSettings

log = structlog.get_logger(__name__)

RENEWAL_PART: Final = 6
"""The last vector is set again once this part, a sixth, of the activity cutoff has passed since the last weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """Result of one computation."""

    intent: Intent | None
    """The new vector; None: it cannot be computed."""
    hold: Hold | None
    """Why it is not set; None: it is."""
    has_last: bool
    """Whether there is a last vector, which is kept meanwhile."""


class VectorComputer:
    """Computes vectors, and remembers for how long the gates have held them."""

    def __init__(self, settings: WeightsSettings, database: Database, copies: CopyFinder) -> None:
        self._settings = settings
        self._database = database
        self._copies = copies
        self._readings = Readings()
        self._clock = HoldClock(timedelta(hours=settings.weights_hold_hours))

    def note(self, metagraph: Metagraph) -> None:
        """Keep a reading of the chain, so that a later one can confirm it."""
        self._readings.note(metagraph)

    def note_agreed(self, metagraph: Metagraph) -> None:
        """Keep a reading of the chain that needs no later one to confirm it."""
        self._readings.note_agreed(metagraph)

    async def compute(self, metagraph: Metagraph, epoch: Epoch, now: datetime) -> Computed:
        """Return the vector of this epoch, and what holds it.

        Raises
        ------
        DatabaseFailure
            If the database failed.
        """
        last, has_last = await read_last(self._database, epoch, metagraph)
        intent, holds = await self._computed(metagraph, epoch, now, last)
        return Computed(intent=intent, hold=self._clock.judge(holds, now), has_last=has_last)

    def journalled(self) -> None:
        """Note that the vector that was computed last is promised, and tell which holds have ended by time."""
        for hold in self._clock.journalled():
            log.warning(
                "weights_hold_ended",
                gate=hold.gate,
                reason=hold.reason,
                hours=self._settings.weights_hold_hours,
            )

    async def renewal(self, metagraph: Metagraph, epoch: Epoch) -> Intent | None:
        """Return the last vector for this epoch, with the uids of now.

        None if a second reading must confirm what the newest says, or if it would pay no miner
        although the last vector does.
        """
        last, _ = await read_last(self._database, epoch, metagraph)
        if last is None:
            return None
        inputs = renewed(last.inputs, last.block, metagraph)
        now = replace(reading_of(metagraph), present=inputs.present)
        if any(unconfirmed(now, self._readings.before(), inputs.terms, last.vector, last.swapped)):
            return None
        runs = {"run_ids": last.entry.run_ids, "completed_ids": last.entry.completed_ids}
        intent = _intent(inputs, metagraph, epoch, **runs)
        if intent is None or (last.vector.shares() and not shares_of(intent.weights, inputs.burner)):
            return None
        names = {**intent.inputs, RENEWAL_OF: last.first_epoch}
        return replace(intent, inputs=names)

    def is_renewal_due(self, metagraph: Metagraph, last_update: int) -> bool:
        """Return whether so much of the activity cutoff has passed that the last vector is set again."""
        return metagraph.block - last_update >= metagraph.activity_cutoff // RENEWAL_PART

    async def _computed(
        self, metagraph: Metagraph, epoch: Epoch, now: datetime, last: StoredVector | None
    ) -> tuple[Intent | None, list[Hold]]:
        window = timedelta(days=self._settings.weights_window_days)
        scores = await self._database.run(
            lambda connection: journal.window_scores(connection, self._settings.rule_set, window)
        )
        if not scores:
            return None, [Hold(gate=Gate.SCORES, reason="no score in the window")]
        present = confirmed(registered(metagraph), self._readings.before())
        try:
            inputs = await inputs_of(scores, metagraph, present, self._settings, self._copies)
        except DatabaseFailure:
            raise
        except GaiaError as error:
            # Also a unit that failed: the last vector is worth more than none.
            return None, [Hold(gate=Gate.OVERLAPS, reason=str(error))]
        intent = _intent(inputs, metagraph, epoch, **_runs_of(scores))
        if intent is None:
            return None, [Hold(gate=Gate.BURN, reason="no hotkey can receive the weight")]
        reading = replace(reading_of(metagraph), present=present)
        return intent, list(self._holds(intent, inputs, reading, scores, now, last))

    def _holds(
        self,
        intent: Intent,
        inputs: VectorInputs,
        reading: Reading,
        scores: Sequence[WindowScore],
        now: datetime,
        last: StoredVector | None,
    ) -> Iterator[Hold]:
        limits = limits_of(self._settings)
        newest = max(score.updated_at for score in scores if score.updated_at is not None)
        vector, swapped = (last.vector, last.swapped) if last is not None else (None, {})
        yield from hold_on_data(inputs, newest, now, limits)
        yield from unconfirmed(reading, self._readings.before(), inputs.terms, vector, swapped)
        yield from hold_on_change(intent.weights, inputs, vector, limits)


def limits_of(settings: WeightsSettings) -> Limits:
    """Return the limits of the gates that the operator has set."""
    return Limits(
        max_age=timedelta(hours=settings.weights_max_score_age_hours),
        min_coverage=settings.weights_min_coverage,
        max_drift=settings.weights_max_drift,
        min_spread=settings.weights_min_spread,
    )


def _runs_of(scores: Sequence[WindowScore]) -> dict[str, list[str]]:
    return {
        "run_ids": sorted({score.run_id for score in scores}),
        "completed_ids": sorted({score.run_id for score in scores if score.completed}),
    }


def _intent(
    inputs: VectorInputs,
    metagraph: Metagraph,
    epoch: Epoch,
    *,
    run_ids: Sequence[str],
    completed_ids: Sequence[str],
) -> Intent | None:
    """Return the vector that follows from the inputs; None if no hotkey can receive the weight."""
    by_uid = inputs.weights()
    if not by_uid:
        return None
    vector, digest = vector_of(by_uid)
    names, parts = to_parts(inputs)
    hotkeys = {uid: hotkey for hotkey, uid in inputs.present.uids.items()}
    return Intent(
        epoch=epoch,
        rule_set=inputs.terms.rule,
        vector=vector,
        vector_sha256=digest,
        weights={hotkeys[uid]: weight for uid, weight in by_uid.items()},
        run_ids=run_ids,
        completed_ids=completed_ids,
        inputs=names,
        parts=parts,
        block=metagraph.block,
    )
