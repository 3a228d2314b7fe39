"""Facts about a validator, as the command line and pages observe them; `troubles` judges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from gaia.validator.db.history import RunSummary
from gaia.validator.db.rows import (
    AwaitedRow,
    IncidentRow,
    LeaseRow,
    ReferenceCounts,
    VectorInDoubt,
    VectorOnChain,
    VectorSummary,
)
from gaia.validator.utils.identities import RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """One unplanned death of a child process."""

    at: datetime
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFiles:
    """Open files of one process."""

    role: str
    used: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """The validator's processes, as the board, the kernel and the heartbeats show them."""

    is_running: bool
    """Whether a Supervisor holds the data folder."""
    is_published: bool
    """Whether it has published a board."""
    living: Mapping[str, int]
    """Role -> number of living processes."""
    expected: Mapping[str, int]
    """Role -> number of processes that should live."""
    silent_s: Mapping[str, float]
    """Role -> seconds since its last heartbeat."""
    restarts: int
    deaths: Sequence[Death]
    """The latest unplanned deaths, oldest first."""
    stopped: Mapping[int, str] = field(default_factory=dict)
    """Pid -> role of each process that a signal has stopped."""
    starting: Sequence[str] = ()
    """Roles of which not every seat has had a process yet, because the validator starts."""
    halt: str = ""
    """Reason for which the Supervisor ends everything; "" if it does not."""
    files: Sequence[OpenFiles] = ()
    """Open files of each living process, where the system shows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The chain as the IO-Engine last saw it."""

    read_at: datetime
    """Time on the machine's clock."""
    netuid: int
    block: int
    hotkey: str
    uid: int | None
    """None: our hotkey is not registered."""
    stake: float
    has_permit: bool
    last_update: int
    """Block of our last weights; 0: never."""
    interval_blocks: int
    """Blocks between two vectors."""
    dividends: float | None
    emission: float | None
    validator_trust: float | None = None
    """Our validator trust in the last epoch; None: not read yet."""
    next_trust: float | None = None
    """The same in the next epoch, with our newest vector; None: not read yet."""
    permit_margin: float | None = None
    """Tokens of stake that we can lose before another hotkey takes our permit; None: not read yet."""

    @property
    def age_blocks(self) -> int | None:
        """Return the age of our weights in blocks; None if we never set any."""
        return self.block - self.last_update if self.last_update else None

    @property
    def due_blocks(self) -> int:
        """Return the number of blocks until the next vector is due; negative if it is late."""
        return 0 if self.age_blocks is None else self.interval_blocks - self.age_blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Something that happens next."""

    at: datetime
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Runs, scores and weights, as the database holds them."""

    runs: int
    open_runs: Sequence[RunId]
    oldest_open_at: datetime | None
    """Opening of the oldest open run."""
    newest_run: RunSummary | None
    newest_frozen: RunSummary | None
    """The newest run in which no manifest may still come."""
    has_scores: bool
    """Whether any run has a score from which weights can be computed."""
    forecasts: Mapping[str, int]
    """State -> number of forecasts in open runs."""
    references: ReferenceCounts
    weights: VectorSummary | None
    """The newest vector that was journalled."""
    weights_set: VectorOnChain | None
    """The newest vector that is on chain."""
    weights_in_doubt: Sequence[VectorInDoubt]
    incidents: Sequence[IncidentRow]
    archives: Sequence[AwaitedRow]
    due: Sequence[Due]
    """What happens next, earliest first."""
    lease: LeaseRow | None = None
    """The lease of the database; None: the database knows none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One recurring job of the IO-Engine, as its metrics show it."""

    name: str
    last_success_at: datetime | None
    is_overdue: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Seats:
    """Seats of the compute pool, as the IO-Engine sees them."""

    healthy: int
    """Seats whose worker recently answered, or is within the deadline of its unit."""
    wanted: int
    """Seats that the settings ask for; 0: those of a cluster, of which any number is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """File system of the data folder, in bytes."""

    free: int
    size: int
    required: int
    """Free bytes without which the validator does not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times from the settings beyond which something is wrong, in seconds, and what is switched off."""

    engine_silence_s: float
    signer_silence_s: float
    metagraph_s: float
    """Age of the metagraph."""
    is_dry_run: bool
    opens_runs: bool
    """Whether runs open every day; false in a rehearsal whose last run has opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is known about a validator at one moment."""

    machine_time: datetime
    now: datetime
    """Time on the validator's clock."""
    is_simulated: bool
    data_dir: str
    rule_set: str
    limits: Limits
    processes: Processes
    chain: Chain | None
    work: Work | None
    """None: the database could not be read."""
    database_error: str
    """Reason why it could not; "" if it could."""
    jobs: Sequence[Job] | None
    """None: the metrics are not served, or could not be read."""
    metrics_error: str
    """Reason why they could not be read; "" if they could, or are not served."""
    disk: Disk | None
    seats: Seats | None = None
    """None: seen from outside, where nobody knows which worker answers."""
    identity: str = ""
    """Identity of this validator in the lease of the database; "" if it has no folder."""

    @property
    def lease(self) -> LeaseRow | None:
        """The lease of the database; None if nobody has taken it yet, or the database could not be read."""
        lease = self.work.lease if self.work is not None else None
        return lease if lease is not None and lease.holder else None

    @property
    def holds_lease(self) -> bool:
        """Whether this validator holds the lease, so that it alone may write."""
        return self.lease is not None and self.lease.is_held and self.lease.holder == self.identity

    @property
    def stands_by(self) -> bool:
        """Whether this validator runs while another one holds the lease, as a standby does for months."""
        is_taken = self.lease is not None and self.lease.is_held and not self.holds_lease
        return is_taken and self.processes.is_running
