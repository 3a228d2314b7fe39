"""States of a forecast and the transitions between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from gaia.validator.db.states import ForecastState

State = ForecastState
"""Where a forecast stands; the words the database knows."""


class Event(StrEnum):
    """Events that change the state of a forecast."""

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
    """Return source state -> target state of `event`.

    The statement `advance_forecast` changes a row only if its state is a key of this mapping.
    A stale or repeated event therefore changes nothing.
    """
    return {state: moves[event] for state, moves in TRANSITIONS.items() if event in moves}
