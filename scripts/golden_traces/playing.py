"""Plays a seeded local subnet in which simulated time alone decides scores, requests and traced vectors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from gaia.localnet.options import FIRST_INIT_TIME, Options, clock_file, data_dir
from gaia.localnet.subnet import LocalSubnet
from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.core.clock import SimulatedClock
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import GaiaError
from golden_traces.reading import Reading, read_trace

RuleSet = Literal["gaia-2.9", "gaia-next"]
MINERS: Final = 12
DAYS: Final = 3
SEED: Final = 7

MOMENTS: Final = tuple(
    FIRST_INIT_TIME + timedelta(days=day, hours=12, minutes=7) for day in (1, 3, 6, 8, 11, 15)
)
"""Simulated times at which the clock stands still until weights are set; no step of a run is due then.

Each run opens at 18:00, is polled every five minutes, and ERA5 is published at 6:00.
"""

_PATIENT: Final[dict[str, Any]] = {
    "miner_timeout_s": 120.0,
    "miner_min_rate_kib_s": 1,
    "source_timeout_s": 120.0,
    "chain_timeout_s": 60.0,
    "database_timeout_s": 60.0,
}
"""Time limits for a busy machine: only a dead miner may exceed them, because a retry changes the trace.

It exceeds the 10 s for a connection, long before the limit of the exchange, so its reason is always the same.
"""

_SET_AT: Final = "SELECT count(*) FROM weight_journal WHERE intended_at = $1 AND state = 'set'"
_LOOK_S: Final = 0.1
_PATIENCE_S: Final = 240.0
"""Longest real time without progress."""


class Stuck(GaiaError):
    """A local subnet made no progress."""


class _StillSubnet(LocalSubnet):
    """A local subnet with long time limits, whose clock stops at the first of `MOMENTS`."""

    def start_validator(self) -> None:
        if self.settings is not None:
            self.settings = self.settings.model_copy(update=_PATIENT)
        self.clock.extend(MOMENTS[0])
        super().start_validator()

    @property
    def clock(self) -> SimulatedClock:
        return SimulatedClock(clock_file(self.state_dir))


async def play(rule_set: RuleSet, state_dir: Path) -> Reading:
    """Run one subnet below `state_dir` to its end; return its trace.

    Raises
    ------
    GaiaError
        If one of its processes ends, it makes no progress, or chain and journal hold different weights.
    OSError
        If the chain or the database is away at the end.
    """
    options = Options(miners=MINERS, days=DAYS, seed=SEED, rule_set=rule_set)
    async with _StillSubnet(state_dir, options) as subnet, AsyncExitStack() as stack:
        await subnet.start()
        await _until(subnet, _time_stands_at(subnet, MOMENTS[0]))
        database = await Database.connect(embedded_dsn(data_dir(state_dir)), timeout_s=60.0, pool_size=1)
        stack.push_async_callback(database.close)
        for moment, end in zip(MOMENTS, [*MOMENTS[1:], options.clock_end], strict=True):
            await _until(subnet, _time_stands_at(subnet, moment))
            await _until(subnet, _weights_set_at(database, moment))
            # The validator no longer moves the clock, so no other process writes it.
            subnet.clock.extend(end)
        await _until(subnet, _settled(subnet))
        await subnet.report(subnet.last_progress, {})
        async with database.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            reading = await read_trace(connection, subnet.specs, state_dir / "miners", MOMENTS)
    about = {"rule_set": rule_set, "miners": MINERS, "days": DAYS, "seed": SEED, "grid": options.grid}
    return replace(reading, trace={"about": about, **reading.trace})


Condition = Callable[[], Awaitable[bool]]


async def _until(subnet: _StillSubnet, holds: Condition) -> None:
    """Wait for a condition while the subnet makes progress."""
    seen: Any = None
    deadline = 0.0
    while not await holds():
        subnet.check()
        progress = await subnet.progress()
        now = subnet.clock.now(), progress.runs, progress.forecasts
        if now != seen:
            seen, deadline = now, time.monotonic() + _PATIENCE_S
        if time.monotonic() > deadline:
            raise Stuck(
                f"nothing moved for {_PATIENCE_S:g} s at {subnet.clock.now():%Y-%m-%dT%H:%M} simulated time;"
                f" see the logs in {subnet.state_dir}"
            )
        await asyncio.sleep(_LOOK_S)


def _time_stands_at(subnet: _StillSubnet, moment: datetime) -> Condition:
    async def holds() -> bool:
        return subnet.clock.now() == moment

    return holds


def _weights_set_at(database: Database, moment: datetime) -> Condition:
    """Return whether weights from the scores at `moment` are on chain."""

    async def holds() -> bool:
        async with database.transaction() as connection:
            return bool(await connection.fetchval(_SET_AT, moment))

    return holds


def _settled(subnet: _StillSubnet) -> Condition:
    """Return whether the weights on chain cover every run."""

    async def holds() -> bool:
        return (await subnet.progress()).is_complete(DAYS)

    return holds
