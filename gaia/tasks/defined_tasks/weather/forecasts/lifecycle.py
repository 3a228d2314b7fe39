"""Where each miner's forecast stands, and which moves are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from gaia.validator.db.states import ForecastState

State = ForecastState
"""Where a forecast stands; the words the database knows."""


class Event(StrEnum):
    """What can happen to a forecast."""

    ACCEPTED = "accepted"
    MANIFEST_FROZEN = "manifest_frozen"
    DAY1_SCORED = "day1_scored"
    FINAL_SCORED = "final_scored"
    MINER_FAILED = "miner_failed"
    VALIDATOR_FAILED = "validator_failed"


_ENDINGS: Final = {Event.MINER_FAILED: State.REJECTED, Event.VALIDATOR_FAILED: State.EXCUSED}

TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = {
    State.PLANNED: {Event.ACCEPTED: State.REQUESTED, **_ENDINGS},
    State.REQUESTED: {Event.MANIFEST_FROZEN: State.FROZEN, **_ENDINGS},
    State.FROZEN: {Event.DAY1_SCORED: State.SCORED_DAY1, **_ENDINGS},
    State.SCORED_DAY1: {Event.FINAL_SCORED: State.SCORED, **_ENDINGS},
    State.SCORED: {},
    State.REJECTED: {},
    State.EXCUSED: {},
}

LIVING: Final = tuple(state for state, moves in TRANSITIONS.items() if moves)


def moves_for(event: Event) -> dict[str, str]:
    """States `event` may leave, each with the state it leads to.

    The statement `advance_forecast` sets the new state only where the stored one is a
    key of this mapping, so a stale or repeated event changes no row.
    """
    return {state: moves[event] for state, moves in TRANSITIONS.items() if event in moves}
