"""Runbooks about the event loop, the queues and the compute pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gaia.cli.runbooks import shared
from gaia.cli.runbooks.branch import Branch, Runbook
from gaia.validator.app.sandbox.confine import Level, survey

if TYPE_CHECKING:
    from collections.abc import Callable

    from gaia.cli.runbooks.facts import Facts

LATE_S: Final = 0.05
"""Seconds above which ValidatorEventLoopLag fires."""
_FAILURES = "gaia_compute_job_failures_total"
_JOBS = "gaia_compute_job_duration_seconds"


def _seats_missing(facts: Facts) -> str:
    seats, healthy = facts.total("gaia_pool_seats"), facts.total("gaia_pool_healthy_seats")
    if seats is None or healthy is None or healthy >= seats:
        return ""
    return f"{healthy:.0f} of {seats:.0f} seats have a worker that answers"


def _all_work(facts: Facts) -> str:
    depth = facts.by("gaia_ipc_queue_depth", "queue")
    seats = facts.total("gaia_pool_seats")
    is_full = seats is not None and seats > 0 and depth.get("leased", 0) >= seats and depth.get("work", 0) > 0
    return f"{depth['work']:.0f} units wait for {seats:.0f} busy workers" if is_full else ""


def _results_wait(facts: Facts) -> str:
    waiting = facts.total("gaia_ipc_queue_depth", queue="result")
    return f"{waiting:.0f} results wait to be taken" if waiting else ""


def _late(facts: Facts) -> str:
    late = facts.total("gaia_io_event_loop_lag_seconds")
    return f"its last wake-up was {late:.3f} s late" if late is not None and late > LATE_S else ""


def _failed(*errors: str) -> Callable[[Facts], str]:
    def look(facts: Facts) -> str:
        counts = [
            f"{handler} {count:.0f} times"
            for error in errors
            for handler, count in facts.by(_FAILURES, "handler", error=error).items()
        ]
        return f"since the start: {', '.join(counts[:3])}" if counts else ""

    return look


def _slow(facts: Facts) -> str:
    attempts = facts.by(f"{_JOBS}_count", "handler")
    quick = facts.by(f"{_JOBS}_bucket", "handler", le="60.0")
    slow = {handler: count - quick.get(handler, 0.0) for handler, count in attempts.items()}
    handler = max(slow, key=lambda name: slow[name], default="")
    if not handler or not slow[handler]:
        return ""
    return f"{slow[handler]:.0f} of {attempts[handler]:.0f} attempts at {handler} took more than 60 s"


def _sandbox_off(facts: Facts) -> str:
    chosen = facts.settings.sandbox
    return "GAIA_SANDBOX is off" if chosen == "off" else ""


def _on_a_cluster(facts: Facts) -> str:
    backend = facts.settings.compute_backend
    return f"GAIA_COMPUTE_BACKEND is {backend}" if backend == "dask" else ""


def _kernel_offers_less(_facts: Facts) -> str:
    found = survey()
    return f"the kernel offers: {found}" if found.level < Level.BROKERED else ""


def _level_low(facts: Facts) -> str:
    level = facts.samples.value("gaia_sandbox_level") if facts.samples else None
    is_low = level is not None and level < Level.BROKERED and survey().level >= Level.BROKERED
    return f"the level is {level:.0f}, and this kernel offers {survey().level.value}" if is_low else ""


SEATS_MISSING = Branch(
    sentence="Fewer workers answer than there are seats.",
    remedy="Wait a minute: the Supervisor replaces them. If it does not, read `gaia logs --level warning`.",
    look=_seats_missing,
)
ALL_WORK = Branch(
    sentence="All workers work, and more arrives than they do.",
    remedy="After a run's truth has come this is normal for an hour. Else raise `GAIA_COMPUTE_WORKERS`.",
    look=_all_work,
)
RESULTS_WAIT = Branch(
    sentence="Results of workers wait for the IO-Engine.",
    remedy="The IO-Engine is too slow. See whether the database answers and whether the machine is busy.",
    look=_results_wait,
)
LATE = Branch(
    sentence="The loop still wakes up late.",
    remedy="Report it with the file that `gaia debug bundle` writes: nothing in the loop may compute.",
    look=_late,
)
DEADLINES = Branch(
    sentence="Units miss their deadline.",
    remedy="Raise `GAIA_UNIT_TIMEOUT_S`, or give the machine less other work.",
    look=_failed("DeadlineExceeded"),
)
QUARANTINED = Branch(
    sentence="Units crash their workers and are quarantined.",
    remedy="Report it with the file that `gaia debug bundle` writes: a forecast must not crash a worker.",
    look=_failed("QuarantinedError"),
)
OTHERWISE = Branch(
    sentence="Units fail for another reason.",
    remedy="Find their errors with `gaia logs --level warning`. A damaged truth is fetched again by itself.",
    look=_failed("other"),
)
SLOW = Branch(
    sentence="Attempts at one kind of unit take more than a minute.",
    remedy="Lower `GAIA_BATCH_MINERS`, or raise `GAIA_COMPUTE_WORKERS`. `gaia runs` shows whether runs are late.",
    look=_slow,
)
SANDBOX_OFF = Branch(
    sentence="The sandbox is switched off.",
    remedy="Set `GAIA_SANDBOX=required`, and restart: workers decode the bytes of strangers.",
    look=_sandbox_off,
)
ON_A_CLUSTER = Branch(
    sentence="Units run on a cluster, whose workers have no sandbox.",
    remedy="Silence the alert for this validator, or compute on this machine. See [Run on a cluster](../how-to/run-on-a-cluster.md).",
    look=_on_a_cluster,
)
KERNEL_OFFERS_LESS = Branch(
    sentence="The kernel or the container offers no full sandbox.",
    remedy="Use a newer kernel, or allow seccomp and Landlock. [The sandbox](../explanation/sandbox.md) says what is needed.",
    look=_kernel_offers_less,
)
LEVEL_LOW = Branch(
    sentence="Workers are less protected than this kernel allows.",
    remedy="Set `GAIA_SANDBOX=required`, and restart: then a start without the full sandbox is refused.",
    look=_level_low,
)

RUNBOOKS: Final = (
    *(
        Runbook(
            alert=alert,
            meaning=f"One wake-up in a hundred of the IO-Engine's event loop comes more than {late} s late.",
            impact="Polls of miners come late. After 30 seconds without a heartbeat the IO-Engine is replaced.",
            branches=(
                *shared.RUNNING,
                shared.ENGINE_HANGS,
                shared.ENGINE_BUSY,
                shared.HOST_BUSY,
                LATE,
            ),
        )
        for alert, late in (("EventLoopLag", "0.05"), ("CriticalEventLoopLag", "0.1"))
    ),
    *(
        Runbook(
            alert=alert,
            meaning=f"More than {limit} units wait for a compute worker.",
            impact="Scores come later. At `GAIA_POOL_QUEUE_LIMIT` further units wait outside the queue; none is lost.",
            branches=(
                *shared.RUNNING,
                shared.WORKERS_DOWN,
                SEATS_MISSING,
                shared.HOST_BUSY,
                ALL_WORK,
            ),
        )
        for alert, limit in (("IPCQueueFull", 500), ("IPCQueueHigh", 100))
    ),
    Runbook(
        alert="IPCResultQueueFull",
        meaning="More than 500 results have been computed that the IO-Engine has not taken.",
        impact="Scores are not recorded yet. None is lost: a unit without a recorded result is computed again.",
        branches=(
            *shared.RUNNING,
            shared.DATABASE_AWAY,
            shared.ENGINE_HANGS,
            shared.ENGINE_BUSY,
            RESULTS_WAIT,
        ),
    ),
    Runbook(
        alert="PoolSeatsMissing",
        meaning="For ten minutes fewer workers have answered than the pool has seats.",
        impact="Scoring is slower. Without any worker nothing is scored.",
        branches=(
            *shared.RUNNING,
            shared.WORKERS_DOWN,
            shared.HOST_FULL,
            shared.HOST_BUSY,
            SEATS_MISSING,
        ),
    ),
    Runbook(
        alert="SandboxLow",
        meaning="A worker decodes forecasts of strangers with files or system calls open to it.",
        impact="A forecast that exploits a decoder could read or write files of the validator's user.",
        branches=(
            shared.STOPPED,
            SANDBOX_OFF,
            ON_A_CLUSTER,
            KERNEL_OFFERS_LESS,
            LEVEL_LOW,
        ),
    ),
    Runbook(
        alert="SlowComputeJobs",
        meaning="One attempt in twenty at a kind of unit takes more than a minute.",
        impact="Scores come later. At `GAIA_UNIT_TIMEOUT_S` a unit is given up and tried again.",
        branches=(*shared.RUNNING, shared.HOST_BUSY, shared.HOST_FULL, DEADLINES, SLOW),
    ),
    *(
        Runbook(
            alert=alert,
            meaning=meaning,
            impact="Scores come later. Failed units are tried again, and no miner pays for them.",
            branches=(
                *shared.RUNNING,
                shared.DISK_FULL,
                shared.HOST_FULL,
                DEADLINES,
                QUARANTINED,
                OTHERWISE,
            ),
        )
        for alert, meaning in (
            (
                "ComputeJobFailures",
                "Attempts at units fail through no fault of a miner, one in ten seconds or more.",
            ),
            ("HighComputeJobFailureRate", "More than 5 % of all attempts fail through no fault of a miner."),
        )
    ),
)
