"""What the looks find on this machine and beyond it; the checks judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from gaia.validator.app.sandbox.confine import Survey
from gaia.validator.doctor.given import Given
from gaia.validator.doctor.sight import Trouble
from gaia.validator.utils.config import Settings
from gaia.validator.utils.ipc_types import Metagraph

_NOT_LOOKED = Trouble("it was not looked at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file or folder."""

    path: Path
    mode: int
    """Permission bits."""
    uid: int
    size: int
    is_folder: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine, and the limits of this process."""

    python: tuple[int, int, int]
    uid: int
    cpus: int
    """Cores that this process may use."""
    memory_mib: int
    """Memory that this process may use; the smaller of the machine's and the control group's."""
    swap_used_mib: int
    swap_mib: int
    limits: Mapping[str, tuple[float, float]]
    """Name, such as NOFILE -> (soft, hard); infinity: no limit."""
    most_processes: float
    """Limit of the control group; infinity: none."""
    oom_score_adj: int
    core_pattern: str
    ptrace_scope: int | None
    user_namespaces: int | None
    """Most user namespaces; None: the kernel does not say."""
    shared_memory_mib: int | None
    """Free space of /dev/shm; None: there is none."""
    is_clock_synchronised: bool | None
    missing_packages: Sequence[str]
    other_versions: Sequence[str]
    """Packages whose version is not that of the lock, as "name 1.0 (lock: 1.1)"."""
    sandbox: Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The data folder."""

    path: Path
    exists: bool
    problem: str
    """Why nothing can be written there; "" if it can."""
    entry: Entry | None
    file_system: str
    free_mib: int
    free_files: int | None
    """Files that can still be made; None: the file system has no limit."""
    holder_pid: int
    """Process that holds the lock; 0: none."""
    holder: str
    """Its command line."""
    served_port: int
    """Port at which the validator that runs on it serves its metrics; 0: none does."""
    foreign: Sequence[Path]
    """Files of another user in it; not all of them."""
    old_drafts: Sequence[Path]
    cluster: str
    """State of the embedded database: "", "ready", "partial"."""
    cluster_version: str
    used_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """The folder of the wallet and the hotkey's file."""

    root: Path
    wallets: Sequence[str]
    hotkeys: Mapping[str, str]
    """Name of each hotkey of this wallet -> ss58 address that its file tells; "" if it tells none."""
    hotkey_path: Path
    hotkey: Entry | None
    is_credential: bool
    """Whether the service manager hands the hotkey over."""
    folder: Entry | None
    """Folder of the hotkey's file."""
    coldkey: Path | None
    """The secret coldkey, if it is here."""
    problem: str
    """Why the hotkey cannot be loaded; "" if it can."""
    address: str
    """Address derived from the secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What the chain's node answers."""

    chain: str
    genesis: str
    peers: int
    should_have_peers: bool
    is_syncing: bool
    block: int
    time: datetime | None
    """Time of the newest block."""
    activity_cutoff: int | None
    """Blocks without weights after which a validator no longer counts."""
    seconds: float
    """Time of the slowest answer."""
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The PostgreSQL server, as our role sees it."""

    version: int
    """Such as 160004."""
    encoding: str
    can_create: bool
    is_read_only: bool
    is_standby: bool
    statement_timeout_ms: int
    is_durable: bool
    role: str
    database: str
    role_limit: int
    """Connections that the role, the database and the server still allow."""
    others: Sequence[tuple[int, str, int]]
    """(backend, address, port) of other sessions of a validator."""
    migrations: str
    """ "none", "current", "behind", or the sentence of a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Answer of one data source."""

    url: str
    problem: str
    """Why it does not serve us; "" if it does."""
    is_key_refused: bool = False
    seconds: float = 0.0
    date: datetime | None = None
    """Its clock."""
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """The address of the metrics."""

    problem: str
    """Why nothing can listen there; "" if it can."""
    holder_pid: int
    """Process that listens there; 0: none, or one of another user."""
    holder: str
    """Its command line."""
    ancestors: frozenset[int]
    """Processes that started it."""
    free: int
    """A port that is free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The addresses for messages."""

    services: Sequence[str]
    """Name of the service of each."""
    problem: str
    """Why one is not understood; "" if all are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that was looked at."""

    given: Given
    settings: Settings | Trouble
    host: Host | Trouble = _NOT_LOOKED
    folder: Folder | Trouble = _NOT_LOOKED
    wallet: Wallet | Trouble = _NOT_LOOKED
    node: Node | Trouble = _NOT_LOOKED
    subnet: Metagraph | Trouble = _NOT_LOOKED
    server: Server | Trouble = _NOT_LOOKED
    gfs: Source | Trouble = _NOT_LOOKED
    cds: Source | Trouble = _NOT_LOOKED
    climatology: Source | Trouble = _NOT_LOOKED
    port: Port | Trouble = _NOT_LOOKED
    addresses: Addresses | Trouble = _NOT_LOOKED
    dask: str | Trouble = _NOT_LOOKED
    """Why the scheduler does not answer; "" if it does."""
    late: Sequence[str] = ()
    """What did not answer in time."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """What could not be looked at -> the reason."""
