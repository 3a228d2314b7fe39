"""Settings of the processes: the compute pool and the time limits of the Supervisor."""

from __future__ import annotations

import os
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from gaia.validator.utils.setting_sources import HandedSettings, broken_rule, setting


class PoolSettings(HandedSettings):
    """Settings for starting processes and running units of work."""

    heading: ClassVar[str] = "Processes"

    compute_workers: int = setting(
        0,
        "Number of compute workers. 0 means one per CPU core, less one. Lower it to leave cores for other programs.",
        "WEATHER_WORKER_COUNT",
        "NUM_COMPUTE_WORKERS",
        ge=0,
        le=64,
    )
    compute_backend: Literal["local", "dask"] = setting(
        "local",
        "Where units of work run: `local` on this machine, `dask` on a Dask cluster.",
    )
    dask_scheduler: str = setting(
        "",
        "Address of the Dask scheduler, such as tcp://host:8786. Required for the dask backend, else ignored.",
    )
    dask_resource: str = setting(
        "",
        "Name of a Dask resource; only workers that offer it get units. Empty: all workers do.",
    )
    worker_start_method: Literal["forkserver", "spawn"] = setting(
        "forkserver",
        "How compute workers start: `forkserver` is fast, `spawn` is slower and shares no memory.",
    )
    worker_max_jobs: int = setting(
        1000,
        "Number of units after which a worker is replaced. Lower it if memory use grows over time.",
        "MAX_JOBS_PER_WORKER",
        ge=1,
    )
    worker_soft_limit_mib: int = setting(
        1024,
        "MiB of private memory above which a worker is replaced, after it finishes its unit.",
        ge=128,
    )
    worker_hard_limit_mib: int = setting(
        2048,
        "MiB of private memory above which a worker is killed at once. Its unit runs again elsewhere.",
        "WEATHER_WORKER_RSS_LIMIT_MB",
        ge=256,
    )
    worker_idle_s: float = setting(
        600.0,
        "Seconds without a unit after which a worker is replaced. 0 means never.",
        ge=0,
    )
    worker_max_age_s: float = setting(86_400.0, "Seconds after which a worker is replaced.", gt=0)
    pool_queue_limit: int = setting(
        10_000,
        "Maximum number of queued units. Further submissions wait for room.",
        ge=1,
    )
    canary_interval_s: float = setting(
        10.0,
        "Seconds between two test units for an idle worker. They show that it still works.",
        gt=0,
    )
    engine_silence_s: float = setting(
        30.0,
        "Seconds without a heartbeat after which the IO-Engine is killed. The signer gets GAIA_CHAIN_TIMEOUT_S more."
        " The embedded database gets as long without an answer, and 30 s at least.",
        gt=0,
    )
    unit_timeout_s: float = setting(
        300.0,
        "Seconds that one unit may take, including its time in the queue. Raise it for a slow machine.",
        "WORKER_QUEUE_TIMEOUT_S",
        gt=0,
    )
    unit_crash_limit: int = setting(
        3,
        "Number of workers that a unit may crash before it is quarantined.",
        ge=1,
    )
    sandbox: Literal["required", "best-effort", "off"] = setting(
        "required",
        "Isolation of compute workers. `required`: do not start without it. `best-effort`: use what the kernel offers. `off`: none.",
    )
    batch_miners: int = setting(
        16,
        "Number of forecasts that one unit scores. Higher is faster and uses more memory.",
        ge=1,
        le=256,
    )
    drain_timeout_s: float = setting(
        25.0,
        "Seconds that an orderly stop may take. What still runs then is killed.",
        gt=0,
    )
    supervisor_poll_s: float = setting(
        0.25,
        "Seconds between two checks of the memory of all child processes.",
        "SUPERVISOR_CHECK_INTERVAL_S",
        gt=0,
    )

    @property
    def seats(self) -> int:
        """Number of compute workers on this machine; 0 with a cluster."""
        if self.compute_backend != "local":
            return 0
        return self.compute_workers or max(1, (os.cpu_count() or 1) - 1)

    @model_validator(mode="after")
    def _agree_on_processes(self) -> Self:
        if self.worker_hard_limit_mib < self.worker_soft_limit_mib:
            raise broken_rule(
                "worker_hard_limit_mib",
                f"{self.worker_hard_limit_mib} is below GAIA_WORKER_SOFT_LIMIT_MIB ({self.worker_soft_limit_mib})",
                "raise it to that or more",
            )
        if self.compute_backend == "dask" and "://" not in self.dask_scheduler:
            raise broken_rule(
                "dask_scheduler",
                "is not an address, and the dask backend needs one",
                "write an address such as tcp://host:8786",
            )
        if self.compute_backend == "dask" and self.sandbox == "required":
            raise broken_rule(
                "sandbox",
                "cannot be required with the dask backend, whose workers have no sandbox",
                "set it to off to run without",
            )
        return self
