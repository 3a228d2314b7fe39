"""Plays pauses and kills of whichever validator is active, one after the other."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from campaigns.run_faults.pace import Pace, steps_of
from campaigns.standby_faults import audit
from campaigns.standby_faults.pair import NAMES
from campaigns.state_faults.playing import Stuck, steps_done
from gaia.localnet.options import clock_file
from gaia.validator.core.clock import SimulatedClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from campaigns.standby_faults.audit import Connection, Take
    from campaigns.standby_faults.pair import Pair
    from campaigns.state_faults.playing import Scene

PAUSE_ALL: Final = "pause of all processes"
PAUSE_ENGINE: Final = "pause of the IO-Engine"
KILL: Final = "kill"
_MOST_WAIT_S: Final = 2.0
"""Longest time of chance between two faults, and after the lease until a paused validator goes on."""
_SETTLED: Final = 0.5
"""Part of the time of a watch that passes before it, so that a spare engine and the workers have started."""
_LOOK_S: Final = 0.05
_GLANCES: Final = 10
"""Looks at the miners' records between two looks at the database."""


@dataclass(slots=True)
class Found:
    """What the faults have shown."""

    takeovers: dict[str, list[float]] = field(default_factory=dict)
    """Fault -> seconds from it to the row of the next holder."""
    takers: Counter[str] = field(default_factory=Counter)
    new_folders: int = 0
    at_a_question: int = 0
    """Faults that came just after a miner had answered."""
    standby_s: float = 0.0
    standby_cpu_s: float = 0.0

    @property
    def cpu_share(self) -> float:
        """Part of a processor that the standby uses."""
        return self.standby_cpu_s / self.standby_s if self.standby_s else 0.0

    def figures(self) -> dict[str, Any]:
        """Return the figures of takeovers and of the standby's processor time."""
        every = [seconds for times in self.takeovers.values() for seconds in times]
        return {
            "faults": {fault: len(times) for fault, times in sorted(self.takeovers.items())},
            "takeover_max_s": round(max(every), 2),
            "takeover_median_s": round(statistics.median(every), 2),
            "takeover_medians_s": {
                fault: round(statistics.median(times), 2) for fault, times in sorted(self.takeovers.items())
            },
            "taken_by": dict(sorted(self.takers.items())),
            "on_a_new_folder": self.new_folders,
            "at_a_question": self.at_a_question,
            "standby_cpu_share": round(self.cpu_share, 5),
            "standby_cpu_over_s": round(self.standby_s, 1),
        }


class Play:
    """Faults of the active validator, and what each of them shows.

    Parameters
    ----------
    connection
        A session of ours in the database of both.
    watches
        Number of times that a standby is watched without a fault.
    watch_s
        Seconds of each of these.
    """

    def __init__(
        self,
        scene: Scene,
        pair: Pair,
        connection: Connection,
        faults: Sequence[str],
        *,
        lease_s: float,
        watches: int,
        watch_s: float,
    ) -> None:
        self.found = Found()
        self._scene = scene
        self._pair = pair
        self._connection = connection
        self._faults = faults
        self._lease_s = lease_s
        self._watch_s = watch_s
        self._watches = {len(faults) * part // watches for part in range(watches)}
        self._patience_s = scene.form.patience_s * scene.patience
        self._calendar = SimulatedClock(clock_file(pair.state_dir))
        self._pace = Pace(scene, steps_of(scene.form) / len(faults))

    async def run(self) -> None:
        """Start the second validator, and play all faults."""
        await self._taken(0)
        self._pair.begin(NAMES[1])
        await self._until_it_stands_by(NAMES[1], 0)
        pacing = asyncio.create_task(self._pace.keep())
        try:
            for place, fault in enumerate(self._faults):
                self._pace.place = place
                took_s = await self._one(place, fault)
                print(f"{place + 1}/{len(self._faults)} {fault}: {took_s:.1f} s", file=sys.stderr)
        finally:
            pacing.cancel()
            self._pace.release()

    async def _one(self, place: int, fault: str) -> float:
        """Play one fault, until its victim stands by; return how long the takeover took."""
        held = await self._taken(0)
        victim = self._pair.member(held.who)
        if place in self._watches:
            await self._watch_standby(next(name for name in NAMES if name != held.who))
        await self._until_it_is_time(place)
        told = victim.said("standing_by")
        begun = time.time()
        if fault == KILL:
            self._pair.forget(held.who)
            await victim.kill()
        else:
            victim.pause(whole=fault == PAUSE_ALL)
        taken = await self._taken(held.token)
        if fault != KILL:
            await self._sleep_until(begun + self._lease_s)
        # A validator that wakes up has nothing to do, and would move the calendar of both to its next run.
        with self._calendar.held("wakes up"):
            victim.wake()
            if fault != KILL:
                await self._until_it_stands_by(held.who, told)
        if fault == KILL:
            is_new = self._scene.random.random() < 0.5
            self.found.new_folders += is_new
            self._pair.begin(held.who, on_new_folder=is_new)
            await self._until_it_stands_by(held.who, told)
        if taken.who == held.who:
            raise Stuck(f"{held.who} has taken over from itself after the {fault}")
        self.found.takeovers.setdefault(fault, []).append(taken.at - begun)
        self.found.takers[taken.who] += 1
        return taken.at - begun

    async def _until_it_is_time(self, place: int) -> None:
        """Wait for the steps that are done at this place; every other fault comes at the next question, if that is earlier."""
        is_at_a_question = self._scene.random.random() < 0.5 or place == 0
        asked, ends_at = self._pair.asked(), time.monotonic() + self._patience_s
        self._pair.release()
        while steps_done(await self._pair.progress()) < self._pace.due(place) or place == 0:
            self._pair.check()
            for _ in range(_GLANCES):
                if is_at_a_question and self._pair.asked() > asked:
                    self.found.at_a_question += 1
                    return
                await asyncio.sleep(_LOOK_S / _GLANCES)
            if time.monotonic() > ends_at:
                raise Stuck(f"the work does not reach place {place}")
        await self._wait(self._scene.random.uniform(0.0, _MOST_WAIT_S))

    async def _watch_standby(self, name: str) -> None:
        """Measure the processor time of a standby that nothing disturbs."""
        standby, ends_at = self._pair.member(name), time.monotonic() + self._patience_s
        while not standby.has_workers():
            if time.monotonic() > ends_at:
                raise Stuck(f"the standby {name} has no workers")
            await self._wait(_LOOK_S)
        await self._wait(_SETTLED * self._watch_s * self._scene.patience)
        before, begun = standby.cpu_s(), time.monotonic()
        await self._wait(self._watch_s)
        self.found.standby_s += time.monotonic() - begun
        self.found.standby_cpu_s += sum(
            spent - before.get(pid, 0.0) for pid, spent in standby.cpu_s().items()
        )

    async def _sleep_until(self, moment: float) -> None:
        """Sleep until a moment, and for a time of chance; half of the times for no longer."""
        more = max(0.0, self._scene.random.uniform(-_MOST_WAIT_S, _MOST_WAIT_S))
        await self._wait(max(0.0, moment - time.time()) + more)

    async def _wait(self, seconds: float) -> None:
        """Wait, and tell the calendar how far the work is."""
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            await self._pair.progress()
            await asyncio.sleep(min(left, _LOOK_S))

    async def _until_it_stands_by(self, name: str, told: int) -> None:
        """Wait until a validator has said that it stands by more than `told` times."""
        await self._pair.says(name, "standing_by", told + 1, self._patience_s)

    async def _taken(self, after: int) -> Take:
        """Wait until the lease has a later token; return who has it."""
        ends_at = time.monotonic() + self._patience_s
        while (take := await audit.newest_take(self._connection)) is None or take.token <= after:
            self._pair.check()
            if time.monotonic() > ends_at:
                raise Stuck(f"nobody takes the lease after token {after}")
            await self._wait(_LOOK_S)
        return take
