"""Facts of a healthy machine as doctor sees them, and what one check says of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from gaia.validator.app.sandbox.confine import Survey
from gaia.validator.db.schema.catalogue import Drift
from gaia.validator.doctor.entries import Entry
from gaia.validator.doctor.examination import CHECKS
from gaia.validator.doctor.facts import Backups, Facts, Folder, Host, Places, Server, Session, Wallet
from gaia.validator.doctor.findings import Finding
from gaia.validator.doctor.given import Given
from gaia.validator.utils.config import Settings

LIMITS = dict.fromkeys(("NOFILE", "NPROC", "FSIZE", "AS", "DATA"), (math.inf, math.inf)) | {
    "CORE": (0.0, math.inf)
}
HOST = Host(
    python=(3, 11, 9),
    uid=1000,
    cpus=8,
    memory_mib=32_000,
    swap_used_mib=0,
    swap_mib=2000,
    limits=LIMITS,
    most_processes=math.inf,
    oom_score_adj=0,
    core_pattern="core",
    ptrace_scope=1,
    user_namespaces=1000,
    shared_memory_mib=1000,
    is_clock_synchronised=True,
    missing_packages=(),
    other_versions=(),
    sandbox=Survey(landlock=7, seccomp=True, broker=True),
)
SHARED = Entry(path=Path("/var/tmp"), mode=0o1777, uid=0, size=4096, is_folder=True)
FOLDER = Folder(
    path=Path("/srv/gaia"),
    exists=True,
    problem="",
    entry=Entry(path=Path("/srv/gaia"), mode=0o700, uid=1000, size=4096, is_folder=True),
    file_system="ext4",
    free_mib=1_000_000,
    free_files=10**6,
    holder_pid=0,
    holder="",
    holder_uid=None,
    served_port=0,
    foreign=(),
    old_drafts=(),
    files=9,
    is_whole=True,
    cluster="ready",
    cluster_version="18",
    used_mib=0,
    blocking_file=None,
)
BACKUPS = Backups(path=Path("/srv/gaia/backups"), problem="", number=0, newest=None, programs_major=18)
PLACES = Places(
    uid=1000,
    env_file=Entry(path=Path("/srv/.env"), mode=0o600, uid=1000, size=100, is_folder=False),
    is_shared_by_root=False,
    has_clock_file=False,
    temporary_folder="/tmp",
    temporary_problem="",
    has_temporary_folder=True,
    has_named_programs=False,
    programs=Path("/usr/lib/postgresql/18/bin"),
    programs_problem="",
    missing_certificates={},
)
WALLET = Wallet(
    root=Path("/srv/wallets"),
    has_root=True,
    wallets=["default"],
    hotkeys={"default": "5Validator"},
    hotkey_path=Path("/srv/wallets/default/hotkeys/default"),
    hotkey=Entry(
        path=Path("/srv/wallets/default/hotkeys/default"), mode=0o600, uid=1000, size=300, is_folder=False
    ),
    is_credential=False,
    folder=None,
    coldkey=None,
    problem="",
    address="5Validator",
    record=Path("/srv/wallets/default/gaia-signed-epochs-default-57.json"),
)
SERVER = Server(
    version=160_004,
    encoding="UTF8",
    can_create=True,
    is_read_only=False,
    is_standby=False,
    statement_timeout_ms=0,
    durability=dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), ("on", "default")),
    role="gaia",
    database="gaia",
    role_limit=97,
    others=(),
    migrations="current",
    drift=Drift(),
    stands_by=False,
    lease_holder=None,
)


def finding(check: str, **changes: Any) -> Finding:
    """Return what one check says of a healthy machine with `changes`."""
    given = Given(
        environment=changes.pop("environment", {}),
        env_file=Path("/srv/.env"),
        in_file={},
        lines={},
        error=None,
    )
    known: dict[str, Any] = {
        "settings": Settings(),
        "host": HOST,
        "folder": FOLDER,
        "backups": BACKUPS,
        "server": SERVER,
        "places": PLACES,
        "wallet": WALLET,
    }
    return judged(check, Facts(given=given, **(known | changes)))


def judged(check: str, facts: Facts) -> Finding:
    """Return what one check says of the facts."""
    (judge,) = (each for each in CHECKS if each.name == check)
    return judge.finding(facts)


def host(**changes: Any) -> Any:
    return {"host": replace(HOST, **changes)}


def backups(**changes: Any) -> Any:
    return {"backups": replace(BACKUPS, **changes)}


def folder(**changes: Any) -> Any:
    return {"folder": replace(FOLDER, **changes)}


def server(**changes: Any) -> Any:
    return {"server": replace(SERVER, **changes), "settings": Settings(database_host="db")}


def places(**changes: Any) -> Any:
    return {"places": replace(PLACES, **changes)}


def wallet(**changes: Any) -> Any:
    return {"wallet": replace(WALLET, **changes)}


def session(**changes: Any) -> Session:
    """Return a session of another validator, from another machine."""
    usual: dict[str, Any] = {
        "backend": 7,
        "address": "10.0.0.9",
        "port": 4000,
        "client_pid": 0,
        "client": "",
        "supervisor_pid": 0,
    }
    return Session(**usual | changes)
