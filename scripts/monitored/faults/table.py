"""All stages: which fault fires which alert, and the alerts that no fault here can fire."""

from __future__ import annotations

import asyncio
from typing import Final

from pydantic import SecretStr

from gaia.cli.runbooks import chain, health, pool, weather, weights
from gaia.localnet.options import Options
from gaia.localnet.population import Behaviour
from monitored.faults import owner, processes, services
from monitored.faults.scene import Fault, Scene, Stage, standing

_QUICK: Final = {"chain_timeout_s": 3.0, "database_timeout_s": 2.0, "database_pool_size": 2}
_LIARS: Final = 28
_BEFORE_THE_LIES_S: Final = 40.0
"""Time in which no forecast is refused, with which the count after it is compared."""
_MOST_MINERS: Final = 30

SPEED: Final = 20.0
"""Number by which durations in rules are divided; the metrics are renewed every five seconds."""
FASTER: Final = {
    # Its counter is renewed every five seconds: a range of 15 s holds two or three of its steps in turn.
    "gaia:cpu:ratio": 1.5,
    "SlowComputeJobs": 4.0,
    "NoWeatherRuns": 3600.0,
    "VerificationFailures": 3600.0,
    "StuckWeatherRuns": 3600.0,
    "TruthLate": 3600.0,
    "LowScoringPerformance": 360.0,
    "UpdateAvailable": 360.0,
    "WeightsStale": 360.0,
    "WeightsHeld": 120.0,
    "WeightsRefused": 60.0,
    "NoRecentActivity": 120.0,
    "ChainNodesFew": 120.0,
    "DatabaseConnectionsHigh": 600.0,
    "VectorInDoubt": 120.0,
    "MinersUnresponsive": 60.0,
    "DiskFillsIn4Days": 360.0,
    "ProcessHighRestarts": 60.0,
}
"""Alert or recording -> number for it alone, where its durations would last too long or be too short."""

NOT_INJECTED: Final = {
    "IPCQueueFull": "no population of the local subnet submits 500 units at a time",
    "IPCQueueHigh": "no population of the local subnet submits 100 units at a time",
    "IPCResultQueueFull": "the loop that takes results is the one that shows their number",
}
"""Alert -> reason why no fault here fires it."""
ALWAYS: Final = ("DeadManSwitch",)
"""Alerts that fire without a fault."""


async def _engine_is_up(scene: Scene) -> None:
    await scene.until(scene.prometheus.is_scraping, 120.0, "a first scrape")


async def _completed(scene: Scene) -> None:
    days = scene.subnet.options.days
    await scene.progress(lambda progress: progress.is_complete(days))


async def _before_the_lies(scene: Scene) -> None:
    """Hold the clock for a while after the start, so that the usual number of failures is known."""
    with scene.clock.held("faults"):
        await _engine_is_up(scene)
        await asyncio.sleep(_BEFORE_THE_LIES_S)


STAGES: Final = (
    Stage(
        name="calm",
        options=Options(miners=4, days=1, seed=3),
        settings=_QUICK,
        ready=_completed,
        faults=(
            Fault(
                name="no_later_runs",
                alerts=("NoRunOpened", "NoWeatherRuns"),
                cause=standing,
                branches=[weather.LAST_RUN_SET],
                seconds=120,
                is_standing=True,
            ),
            Fault(
                name="simulated_clock",
                alerts=("ClockOffset",),
                cause=standing,
                branches=[health.SIMULATED],
                seconds=120,
                is_standing=True,
            ),
            *services.CALM,
            *processes.FAULTS,
        ),
    ),
    Stage(
        name="crowded",
        options=Options(miners=1, days=1, seed=3),
        ready=_completed,
        faults=(processes.CROWDED_ENDPOINT,),
    ),
    Stage(
        name="short_deadline",
        options=Options(miners=4, days=1, seed=3),
        settings={"unit_timeout_s": 0.02},
        ready=_engine_is_up,
        faults=(
            Fault(
                name="short_deadline",
                alerts=("ComputeJobFailures", "HighComputeJobFailureRate"),
                cause=standing,
                branches=[pool.DEADLINES],
                seconds=180,
                is_standing=True,
            ),
        ),
    ),
    Stage(
        name="silent_miners",
        options=Options(miners=12, days=1, seed=3),
        ready=_engine_is_up,
        faults=(services.SILENT_MINERS,),
    ),
    Stage(
        name="liars",
        options=Options(
            miners=_MOST_MINERS, days=1, seed=3, recast=dict.fromkeys(range(_LIARS), Behaviour.NAN)
        ),
        ready=_before_the_lies,
        faults=(
            Fault(
                name="liars",
                alerts=("VerificationFailures",),
                cause=standing,
                branches=[weather.MOSTLY_REJECTED, weather.REASONS],
                seconds=240,
                is_standing=True,
            ),
        ),
    ),
    Stage(
        name="bad_forecasts",
        options=Options(miners=5, days=1, seed=3, recast=dict.fromkeys(range(5), Behaviour.PERSISTENCE)),
        settings={"sandbox": "off"},
        ready=_engine_is_up,
        faults=(
            Fault(
                name="no_sandbox",
                alerts=("SandboxLow",),
                cause=standing,
                branches=[pool.SANDBOX_OFF],
                seconds=120,
                is_standing=True,
            ),
            Fault(
                name="bad_forecasts",
                alerts=("LowScoringPerformance",),
                cause=standing,
                branches=[weather.LOW_SCORES],
                seconds=240,
                is_standing=True,
            ),
        ),
    ),
    Stage(
        name="silent_beacon",
        options=Options(miners=4, days=1, seed=3, commit_reveal=True, has_pulses=False),
        ready=_engine_is_up,
        faults=(
            Fault(
                name="silent_beacon",
                alerts=("CommitLost",),
                cause=standing,
                branches=[weights.NOT_REVEALED],
                seconds=240,
                is_standing=True,
            ),
        ),
    ),
    Stage(
        name="other_votes",
        options=Options(miners=4, days=1, seed=3, peers=2, peers_turn_after=15),
        ready=_engine_is_up,
        faults=(
            Fault(
                name="other_votes",
                alerts=("TrustFalls",),
                cause=standing,
                branches=[weights.UNLIKE_THE_OTHERS, weights.LOW_TRUST],
                seconds=240,
                is_standing=True,
            ),
        ),
    ),
    Stage(
        name="strict_owner",
        options=Options(miners=4, days=1, seed=3),
        ready=_engine_is_up,
        faults=(
            Fault(
                name="strict_owner",
                alerts=("WeightsRefused",),
                cause=owner.strict_owner,
                branches=[weights.FOR_THEIRS],
                seconds=240,
            ),
        ),
    ),
    Stage(
        name="lying_node",
        options=Options(miners=4, days=1, seed=3, nodes=3, lying_nodes=1),
        ready=_engine_is_up,
        faults=(
            Fault(
                name="lying_node",
                alerts=("ChainNodeDistrusted",),
                cause=standing,
                branches=[chain.DISTRUSTED],
                seconds=240,
                is_standing=True,
            ),
        ),
    ),
    Stage(
        name="silent_node",
        options=Options(miners=1, days=1, seed=3),
        # Nothing listens there.
        settings={"chain_more_endpoints": ["ws://127.0.0.1:9"]},
        ready=_engine_is_up,
        faults=(
            Fault(
                name="silent_node",
                alerts=("ChainNodesFew",),
                cause=standing,
                branches=[chain.SILENT],
                seconds=180,
                is_standing=True,
            ),
        ),
    ),
    Stage(
        name="slow_worker",
        options=Options(miners=4, days=1, seed=3),
        settings={"compute_workers": 1},
        ready=_engine_is_up,
        faults=(processes.SLOW_WORKER,),
    ),
    Stage(
        name="deaf_service",
        options=Options(miners=1, days=1, seed=3),
        # Nothing listens there, and the message about the start is tried again each minute.
        settings={"notify_urls": [SecretStr("json://127.0.0.1:9/gaia")], "notify_life": True},
        ready=_engine_is_up,
        faults=(
            Fault(
                name="deaf_service",
                alerts=("NotificationsFailing",),
                cause=standing,
                branches=[health.NONE_TAKEN],
                seconds=180,
                is_standing=True,
            ),
        ),
    ),
    Stage(
        name="new_release",
        options=Options(miners=1, days=1, seed=3),
        settings={"update_url": "http://{webhook}/newest"},
        ready=_engine_is_up,
        faults=(
            Fault(
                name="new_release",
                alerts=("UpdateAvailable",),
                cause=standing,
                branches=[health.NEWER],
                seconds=120,
                is_standing=True,
            ),
        ),
    ),
    Stage(
        name="late_truth",
        options=Options(miners=3, days=1, seed=3),
        settings={"source_timeout_s": 2.0},
        ready=_engine_is_up,
        faults=(services.SILENT_ARCHIVES,),
    ),
    Stage(
        name="small_disk",
        options=Options(miners=3, days=1, seed=3),
        ready=_completed,
        faults=(services.FILLED_DISK,),
        tmpfs_mib=768,
    ),
)
