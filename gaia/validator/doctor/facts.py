"""What the looks find on this machine and beyond it; the checks judge it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from gaia.validator.app.sandbox.confine import Survey
from gaia.validator.db.schema.catalogue import Drift
from gaia.validator.doctor.entries import Entry
from gaia.validator.doctor.given import Given
from gaia.validator.doctor.sight import Trouble
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.config import Settings

_NOT_LOOKED = Trouble("it was not looked at")


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
    """Process that holds the lock; 0: none, -1: one that the kernel does not name."""
    holder: str
    """Its command line."""
    served_port: int
    """Port at which the validator that runs on it serves its metrics; 0: none does."""
    holder_uid: int | None
    """Its user; None: there is no such process."""
    foreign: Sequence[Path]
    """Files of another user than the folder's own; not all of them."""
    old_drafts: Sequence[Path]
    files: int
    """Files that were looked at."""
    is_whole: bool
    """Whether these are all; there may be too many."""
    cluster: str
    """State of the embedded database: "", "ready", "partial"."""
    cluster_version: str
    used_mib: int
    """Space of the files that were looked at."""
    blocking_file: Path | None
    """File where a folder above it must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """The folder of the wallet and the hotkey's file."""

    root: Path
    has_root: bool
    """Whether `root` is a folder."""
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
    record: Path
    """File that remembers the vector signed in each epoch."""
    record_problem: str = ""
    """Why that file cannot be kept; "" if it can."""
    is_record_damaged: bool = False
    record_hotkey: str = ""
    """Hotkey that the file names; "" if there is no file yet."""
    foreign_update: int | None = None
    """Block in which another program used the hotkey, as that file tells; None: it tells of none."""


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
    commit_version: int | None
    """Version of commit-reveal that the chain takes; None: it stores none, so that the runtime's default holds."""
    spec_version: int | None
    """Version of the chain's runtime; None: the node does not tell it."""
    activity_cutoff: int | None
    """Blocks without weights after which a validator no longer counts."""
    seconds: float
    """Time of the slowest answer."""
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session of another validator in our database."""

    backend: int
    address: str
    """Where it comes from; "": this machine, by a socket of the file system."""
    port: int
    client_pid: int
    """Process of this machine that has the other end; 0: unknown."""
    client: str
    """Its command line."""
    supervisor_pid: int
    """Supervisor that it belongs to, if that runs as our user; 0: none is proved."""


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
    durability: Mapping[str, tuple[str, str]]
    """Parameter that keeps commits through a crash -> (value, where the value comes from)."""
    role: str
    database: str
    role_limit: int
    """Connections that the role, the database and the server still allow."""
    others: Sequence[Session]
    migrations: str
    """ "none", "current", "behind", or the sentence of a refusal."""
    drift: Drift
    """How the schema of a current database differs from what the migrations make."""
    stands_by: bool
    """Whether another validator than that of our folder holds the lease."""
    lease_holder: str | None
    """Name of the validator that holds the lease; None: the database has no lease, so that one validator may use it."""


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
    free: int | None
    """A port that is free; None: none was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The addresses for messages."""

    services: Sequence[str]
    """Name of the service of each."""
    problem: str
    """Why one is not understood; "" if all are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy that the environment names."""

    variable: str
    place: str
    """Its host and port, as far as they can be read; no password."""
    problem: str
    """Why it cannot be reached; "" if it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Files and folders that variables name, and the user of this process."""

    uid: int
    env_file: Entry | None
    is_shared_by_root: bool
    """Whether root owns the file of settings, and shares it with the group of the validator."""
    """None: it is not there, or cannot be looked at."""
    has_clock_file: bool
    temporary_folder: str
    """Where temporary files go; "" if there is no such place."""
    temporary_problem: str
    """Why none can be made there; "" if one can."""
    has_temporary_folder: bool
    has_named_programs: bool
    """Whether the folder that PG_BINDIR names has a program postgres."""
    programs: Path | None
    """Folder of PostgreSQL's programs; None: there is none."""
    programs_problem: str
    missing_certificates: Mapping[str, str]
    """Variable -> path that it names, and that is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backups:
    """The folder of backups, and what makes one."""

    path: Path
    problem: str
    """Why none can be stored there; "" if one can."""
    number: int
    newest: datetime | None
    """When the newest one was made, in UTC; None: there is none."""
    programs_major: int | None
    """Newest major version of pg_dump that is installed; None: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that was looked at."""

    given: Given
    settings: Settings | Trouble
    host: Host | Trouble = _NOT_LOOKED
    places: Places | Trouble = _NOT_LOOKED
    folder: Folder | Trouble = _NOT_LOOKED
    backups: Backups | Trouble = _NOT_LOOKED
    wallet: Wallet | Trouble = _NOT_LOOKED
    node: Node | Trouble = _NOT_LOOKED
    further_nodes: Mapping[str, Node | Trouble] | Trouble = _NOT_LOOKED
    """Name of each node beside the first -> what it answers."""
    subnet: Metagraph | Trouble = _NOT_LOOKED
    server: Server | Trouble = _NOT_LOOKED
    gfs: Source | Trouble = _NOT_LOOKED
    cds: Source | Trouble = _NOT_LOOKED
    climatology: Source | Trouble = _NOT_LOOKED
    port: Port | Trouble = _NOT_LOOKED
    proxies: Sequence[Proxy] | Trouble = _NOT_LOOKED
    addresses: Addresses | Trouble = _NOT_LOOKED
    dask: str | Trouble = _NOT_LOOKED
    """Why the scheduler does not answer; "" if it does."""
    late: Sequence[str] = ()
    """What did not answer in time."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """What could not be looked at -> the reason."""
