"""What the Supervisor is told at its start, and what it tells a compute worker."""

from __future__ import annotations

from typing import Literal

import msgspec

from gaia.validator.app.supervision import READY_WITHIN_S, Limits, Role
from gaia.validator.utils.entry_points import HANDLERS
from gaia.validator.utils.ipc_types import SandboxMode

_SPAWNED_WITHIN_S = 120.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the Supervisor must know; the settings themselves it only hands on."""

    data_dir: str
    settings: bytes
    """Pickled, for the IO-Engine and the signer."""
    workers: int
    embedded_database: bool
    start_method: str = "forkserver"
    worker_max_jobs: int = 1000
    worker_idle_s: float = 600.0
    worker_max_age_s: float = 86_400.0
    worker_soft_limit_mib: int = 1024
    worker_hard_limit_mib: int = 2048
    unit_timeout_s: float = 300.0
    drain_timeout_s: float = 25.0
    engine_silence_s: float = 30.0
    worker_ready_s: float = READY_WITHIN_S[Role.WORKER]
    """Of forked workers; a spawned one imports and compiles what these find in memory."""
    signer_silence_s: float = 90.0
    """Longer than any call of the chain may take, for the signer may be submitting weights."""
    poll_s: float = 0.25
    crash_limit: int = 12
    log_level: str = "INFO"
    log_format: Literal["json", "console"] = "json"
    lock_fd: int = -1
    """Keeps the data folder ours as long as we live."""
    sandbox: SandboxMode = "required"
    """Of the compute workers."""
    handlers: str = HANDLERS

    def limits(self) -> Limits:
        """Return what `supervision.plan` needs of them."""
        worker_s = self.worker_ready_s if self.start_method == "forkserver" else _SPAWNED_WITHIN_S
        return Limits(
            soft_mib=self.worker_soft_limit_mib,
            hard_mib=self.worker_hard_limit_mib,
            age_s=self.worker_max_age_s,
            drain_timeout_s=self.drain_timeout_s,
            recycle_grace_s=self.unit_timeout_s,
            silence_s={Role.ENGINE: self.engine_silence_s, Role.SIGNER: self.signer_silence_s},
            ready_within_s={**READY_WITHIN_S, Role.WORKER: worker_s},
            crash_limit=self.crash_limit,
        )

    def for_workers(self) -> tuple[object, ...]:
        """Return what a worker is started with: where it changes, workers are replaced."""
        return (self.worker_max_jobs, self.worker_idle_s, self.worker_hard_limit_mib, self.log_level)


class WorkerOrders(msgspec.Struct, frozen=True, kw_only=True):
    """What one compute worker is started with."""

    seat: int
    incarnation: int
    """Number of this child among all that the Supervisor started."""
    socket_path: str
    """Where the IO-Engine accepts workers."""
    max_jobs: int
    """Units after which it should be replaced."""
    memory_mib: int = 0
    """A unit that allocates more gets a `MemoryError`; mapped files do not count; 0: no limit."""
    handlers: str = HANDLERS
    """Module whose ``resolve(name)`` returns the handler of that name."""
    log_level: str = "INFO"
    log_format: Literal["json", "console"] = "json"
    sandbox: SandboxMode = "off"
    """How it is locked in, once all that handlers need is loaded."""
    data_dir: str = ""
    """Where the folders are that the handlers read and write."""
    idle_s: float = 0.0
    """Seconds without a unit after which a replacement gives its memory back; 0: never."""
    stack_path: str = ""
    """File for the last Python stack, and the sign that deadlines are kept here too; empty: neither."""


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What came of reading the settings again."""

    options: Options
    changed: dict[str, str] = {}
    """Settings that take effect now, with their new values."""
    refused: list[str] = []
    """Settings that differ from those we run with, and need a restart."""
