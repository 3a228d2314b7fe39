"""Options of the Supervisor, and orders of a compute worker."""

from __future__ import annotations

from typing import Literal

import msgspec

from gaia.validator.app.supervision import READY_WITHIN_S, Limits, Role
from gaia.validator.utils.entry_points import HANDLERS
from gaia.validator.utils.ipc_types import SandboxMode
from gaia.validator.utils.logs.files import LogFiles

DATABASE_SILENCE_S = 30.0
"""Least silence in seconds for which the embedded database is killed, because it then recovers from a crash."""
_SPAWNED_WITHIN_S = 120.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the Supervisor; it only passes the pickled settings on."""

    data_dir: str
    settings: bytes
    """Pickled settings for the IO-Engine."""
    signer_settings: bytes
    """Pickled sections for the signer; they hold no secret, only the path of the hotkey."""
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
    """Seconds that a forked worker may take to start; a spawned one imports and compiles first."""
    signer_silence_s: float = 90.0
    """Seconds without a heartbeat after which the signer is killed; longer than any chain call takes."""
    database_silence_s: float = DATABASE_SILENCE_S
    """Seconds without an answer after which the embedded database is killed."""
    poll_s: float = 0.25
    crash_limit: int = 12
    log_level: str = "INFO"
    log_format: Literal["json", "console"] = "json"
    log_files: LogFiles | None = None
    """Place of the log files of all processes; None: there are none."""
    lock_fd: int = -1
    """Descriptor of the data folder's lock."""
    sandbox: SandboxMode = "required"
    """Sandbox of the compute workers."""
    handlers: str = HANDLERS
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    """Port of metrics and probes; 0: neither is served."""
    metrics_names: tuple[str, ...] = ()
    """Names by which clients may call them, beside loopback names and the address."""
    build: dict[str, str] = {}
    """Labels that say what runs: version, commit, rule set, digest of the settings."""

    withheld: tuple[str, ...] = ()
    """Variables of the environment that compute workers do not get, because they hold secrets."""

    def limits(self) -> Limits:
        """Return the limits for `supervision.plan`."""
        worker_s = self.worker_ready_s if self.start_method == "forkserver" else _SPAWNED_WITHIN_S
        return Limits(
            soft_mib=self.worker_soft_limit_mib,
            hard_mib=self.worker_hard_limit_mib,
            age_s=self.worker_max_age_s,
            drain_timeout_s=self.drain_timeout_s,
            recycle_grace_s=self.unit_timeout_s,
            silence_s={
                Role.ENGINE: self.engine_silence_s,
                Role.SIGNER: self.signer_silence_s,
                Role.DATABASE: self.database_silence_s,
            },
            ready_within_s={**READY_WITHIN_S, Role.WORKER: worker_s},
            crash_limit=self.crash_limit,
        )

    def for_workers(self) -> tuple[object, ...]:
        """Return the values with which a worker is started; if they change, workers are replaced."""
        return (
            *(self.worker_max_jobs, self.worker_idle_s, self.worker_hard_limit_mib),
            *(self.log_level, self.log_files),
        )


class WorkerOrders(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of one compute worker."""

    seat: int
    incarnation: int
    """Number of this child among all children of the Supervisor."""
    socket_path: str
    """Socket at which the IO-Engine accepts workers."""
    max_jobs: int
    """Number of units after which it should be replaced."""
    memory_mib: int = 0
    """MiB beyond which a unit gets a `MemoryError`; mapped files do not count; 0: no limit."""
    handlers: str = HANDLERS
    """Module whose ``resolve(name)`` returns the handler of that name."""
    log_level: str = "INFO"
    log_format: Literal["json", "console"] = "json"
    log_files: LogFiles | None = None
    sandbox: SandboxMode = "off"
    """Mode of its sandbox."""
    data_dir: str = ""
    """Folder that contains the folders that handlers read and write."""
    idle_s: float = 0.0
    """Seconds without a unit after which it is replaced to free its memory; 0: never."""
    stack_path: str = ""
    """File for its last Python stack; empty: no stack, and no alarm at deadlines."""


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """Result of reading the settings again."""

    options: Options
    changed: dict[str, str] = {}
    """Changed settings that take effect now, with their new values."""
    refused: list[str] = []
    """Changed settings that need a restart."""
