"""Computes the vector of an epoch from the scores of the window, and says what holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from gaia.validator.core.weights.gates import (
    BOUNDED,
    Gate,
    Hold,
    LastVector,
    Limits,
    hold_on_change,
    hold_on_data,
    shares_of,
)
from gaia.validator.core.weights.inputs import (
    InputsDamaged,
    VectorInputs,
    from_parts,
    parts_named,
    to_parts,
    vector_of,
)
from gaia.validator.core.weights.registry import Readings, confirmed, renewed, unconfirmed
from gaia.validator.core.weights.vector import registered
from gaia.validator.core.weights.window import inputs_of
from gaia.validator.db import history, journal
from gaia.validator.db.journal import Intent, LastEntry
from gaia.validator.utils.errors import NotYetAvailable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from gaia.tasks.defined_tasks.base import CopyFinder
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.db.journal import Epoch, WindowScore
    from gaia.validator.utils.settings.weights import WeightsSettings
    from gaia.validator.utils.signer_messages import Metagraph

log = structlog.get_logger(__name__)

RENEWAL_PART: Final = 3
"""The last vector is set again once this part, a third, of the activity cutoff has passed since the last weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """Result of one computation."""

    intent: Intent | None
    """The new vector; None: it cannot be computed."""
    hold: Hold | None
    """Why it is not set; None: it is."""
    has_last: bool
    """Whether there is a last vector, which is kept meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Last:
    """The newest vector that stands or will be revealed."""

    entry: LastEntry
    inputs: VectorInputs

    @property
    def vector(self) -> LastVector:
        return LastVector(
            terms=self.inputs.terms,
            weights=self.entry.weights,
            burner=_burner(self.inputs),
            runs=len(self.inputs.runs),
        )


class VectorComputer:
    """Computes vectors, and remembers for how long the gates have held them."""

    def __init__(self, settings: WeightsSettings, database: Database, copies: CopyFinder) -> None:
        self._settings = settings
        self._database = database
        self._copies = copies
        self._readings = Readings()
        self._held_since: datetime | None = None
        """Time of the first of the holds in a row that are limited in time."""

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
        TransientError
            If the database did not answer, or overlaps could not be computed.
        """
        last = await self._last(epoch)
        intent, holds = await self._computed(metagraph, epoch, now, last)
        hold = self._judged(holds, now)
        return Computed(intent=intent, hold=hold, has_last=last is not None)

    async def renewal(self, metagraph: Metagraph, epoch: Epoch) -> Intent | None:
        """Return the last vector for this epoch, with the uids of now.

        None if a second reading must confirm who is gone, or if nobody is left whom it paid.
        """
        last = await self._last(epoch)
        if last is None:
            return None
        inputs = renewed(last.inputs, last.entry.promised_block, metagraph)
        paid = last.vector.shares()
        if unconfirmed(inputs.present, self._readings.before(), paid) is not None:
            return None
        intent = _intent(
            inputs, metagraph, epoch, run_ids=last.entry.run_ids, completed_ids=last.entry.completed_ids
        )
        if intent is not None and paid and not shares_of(intent.weights, _burner(inputs)):
            return None
        return intent

    def is_renewal_due(self, metagraph: Metagraph, last_update: int) -> bool:
        """Return whether so much of the activity cutoff has passed that the last vector is set again."""
        return metagraph.block - last_update >= metagraph.activity_cutoff // RENEWAL_PART

    async def _computed(
        self, metagraph: Metagraph, epoch: Epoch, now: datetime, last: _Last | None
    ) -> tuple[Intent | None, list[Hold]]:
        window = timedelta(days=self._settings.weights_window_days)
        scores = await self._database.run(
            lambda connection: journal.window_scores(connection, self._settings.rule_set, window)
        )
        if not scores:
            return None, [Hold(gate=Gate.SCORES, reason="no score in the window")]
        before = self._readings.before()
        present = confirmed(registered(metagraph), before)
        try:
            inputs = await inputs_of(scores, metagraph, present, self._settings, self._copies)
        except NotYetAvailable as error:
            return None, [Hold(gate=Gate.OVERLAPS, reason=str(error))]
        intent = _intent(inputs, metagraph, epoch, **_runs_of(scores))
        if intent is None:
            return None, [Hold(gate=Gate.BURN, reason="no hotkey can receive the weight")]
        return intent, list(self._holds(intent, inputs, scores, now, last))

    def _holds(
        self,
        intent: Intent,
        inputs: VectorInputs,
        scores: Sequence[WindowScore],
        now: datetime,
        last: _Last | None,
    ) -> Iterator[Hold]:
        limits = limits_of(self._settings)
        newest = max(score.updated_at for score in scores if score.updated_at is not None)
        yield from hold_on_data(inputs, newest, now, limits)
        vector = last.vector if last is not None else None
        paid: Collection[str] = vector.shares() if vector is not None else ()
        if (hold := unconfirmed(inputs.present, self._readings.before(), paid)) is not None:
            yield hold
        yield from hold_on_change(intent.weights, _burner(inputs), inputs, vector, limits)

    def _judged(self, holds: Sequence[Hold], now: datetime) -> Hold | None:
        """Return the hold that counts; those that are limited in time end, however often others interrupt them."""
        lasting = next((hold for hold in holds if hold.gate not in BOUNDED), None)
        bounded = next((hold for hold in holds if hold.gate in BOUNDED), None)
        if bounded is not None and self._held_since is None:
            self._held_since = now
        if lasting is not None:
            return lasting
        since, self._held_since = self._held_since, None
        if bounded is None or since is None:
            return None
        if now - since < timedelta(hours=self._settings.weights_hold_hours):
            self._held_since = since
            return bounded
        log.warning(
            "weights_hold_ended",
            gate=bounded.gate,
            reason=bounded.reason,
            hours=self._settings.weights_hold_hours,
        )
        return None

    async def _last(self, epoch: Epoch) -> _Last | None:
        async def read(connection: Connection) -> tuple[LastEntry, Mapping[str, str]] | None:
            entry = await journal.last_entry(connection, epoch.netuid, epoch.mechid)
            if entry is None:
                return None
            return entry, await history.weight_inputs(connection, parts_named(entry.inputs))

        found = await self._database.run(read)
        if found is None:
            return None
        entry, parts = found
        try:
            return _Last(entry=entry, inputs=from_parts(entry.inputs, parts))
        except InputsDamaged as error:
            log.error("last_vector_unreadable", epoch=entry.epoch, error=str(error), once=(entry.epoch,))
            return None


def limits_of(settings: WeightsSettings) -> Limits:
    """Return the limits of the gates that the operator has set."""
    return Limits(
        max_age=timedelta(hours=settings.weights_max_score_age_hours),
        min_coverage=settings.weights_min_coverage,
        max_drift=settings.weights_max_drift,
        min_spread=settings.weights_min_spread,
    )


def _burner(inputs: VectorInputs) -> str:
    terms = inputs.terms
    return (terms.burn_hotkey or inputs.present.owner_hotkey) if terms.burn_enabled else ""


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
