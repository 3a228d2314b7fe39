"""Keeps the calendar of a subnet in step with a deck of faults."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from campaigns.state_faults.playing import steps_done
from gaia.localnet.options import clock_file
from gaia.validator.core.clock import SimulatedClock

if TYPE_CHECKING:
    from campaigns.state_faults.playing import Form, Scene

_AHEAD: Final = 3
"""Cards by which the work may be ahead of the deck; then the calendar waits."""
_STEPS: Final = 13
"""Steps of a forecast under one rule set: answer, freeze, and scored leads."""
_RULE_SETS: Final = 2
"""Rule sets that score each forecast, each with steps of its own."""
_PACE_S: Final = 0.05


def steps_of(form: Form) -> int:
    """Return the steps of all forecasts of a life."""
    return _STEPS * form.miners * form.days * _RULE_SETS


class Pace:
    """Lets the calendar wait while the work is ahead of the deck, so that each card meets work."""

    def __init__(self, scene: Scene, steps_a_card: float) -> None:
        self.place = 0
        self._scene = scene
        self._steps = steps_a_card
        self._calendar = SimulatedClock(clock_file(scene.subnet.state_dir))
        self._hold = ExitStack()
        self._is_held = False

    def due(self, place: int) -> int:
        """Return the steps that are done when a card is played; the last steps are left to the end."""
        return int(0.9 * place * self._steps)

    async def reached(self, place: int) -> None:
        """Wait until as many steps are done."""
        await self._scene.until(lambda progress: steps_done(progress) >= self.due(place))

    async def keep(self) -> None:
        """Hold and release the calendar until cancelled."""
        while True:
            is_ahead = steps_done(self._scene.subnet.last_progress) > self.due(self.place + _AHEAD)
            if is_ahead and not self._is_held:
                self._hold.enter_context(self._calendar.held("deck"))
                self._is_held = True
            elif not is_ahead:
                self.release()
            await asyncio.sleep(_PACE_S)

    def release(self) -> None:
        """Let the calendar go on."""
        self._hold.close()
        self._is_held = False
