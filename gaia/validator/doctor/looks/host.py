"""Looks at this machine, and at the limits of this process."""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
import os
import re
import resource
import shutil
import sys
from pathlib import Path

import psutil

import gaia
from gaia.validator.app.sandbox.confine import survey
from gaia.validator.doctor.facts import Host

LIMITS = ("NOFILE", "NPROC", "CORE", "FSIZE", "AS", "DATA")
_MIB = 1024 * 1024
_CGROUPS = Path("/sys/fs/cgroup")
_LOCK = Path("requirements", "runtime.lock")
_PACKAGE = "gaia-validator"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;.*)?\s*\\?$")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_TIME_ERROR = 5
_TIMEX_BYTES = 512


def look_at_host() -> Host:
    """Return what this machine offers."""
    swap = psutil.swap_memory()
    missing, other = _packages()
    return Host(
        python=sys.version_info[:3],
        uid=os.geteuid(),
        cpus=_cpus(),
        memory_mib=int(min(psutil.virtual_memory().total, _smallest("memory.max")) // _MIB),
        swap_used_mib=swap.used // _MIB,
        swap_mib=swap.total // _MIB,
        limits={name: _limit(name) for name in LIMITS},
        most_processes=_smallest("pids.max"),
        oom_score_adj=_number(Path("/proc/self/oom_score_adj")) or 0,
        core_pattern=_text(Path("/proc/sys/kernel/core_pattern")),
        ptrace_scope=_number(Path("/proc/sys/kernel/yama/ptrace_scope")),
        user_namespaces=_number(Path("/proc/sys/user/max_user_namespaces")),
        shared_memory_mib=_free_mib(Path("/dev/shm")),  # noqa: S108 - PostgreSQL's folder, not ours
        is_clock_synchronised=is_clock_synchronised(),
        missing_packages=missing,
        other_versions=other,
        sandbox=survey(),
    )


def is_clock_synchronised() -> bool | None:
    """Return whether the kernel's clock follows a time server; None if it does not say."""
    if sys.platform != "linux":
        return None
    # A struct timex of zeros only reads; its size differs between machines, and none is larger.
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    return None if state < 0 else bool(state != _TIME_ERROR)


def _limit(name: str) -> tuple[float, float]:
    soft, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
    return (
        math.inf if soft == resource.RLIM_INFINITY else soft,
        math.inf if hard == resource.RLIM_INFINITY else hard,
    )


def _cpus() -> int:
    """Return the cores of this process: by affinity, and by the control group's share of time."""
    allowed = len(os.sched_getaffinity(0))
    for group in _groups():
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            allowed = min(allowed, max(1, int(quota) // int(period)))
    return allowed


def _smallest(name: str) -> float:
    """Return the smallest limit of this process's control groups; infinity if none has one."""
    texts = (_text(group / name) for group in _groups())
    return min((float(text) for text in texts if text.isdigit()), default=math.inf)


def _groups() -> list[Path]:
    """Return the control group of this process and those above it (version 2)."""
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        if line.startswith("0::"):
            own = _CGROUPS / line.removeprefix("0::").strip("/")
            return [own, *(above for above in own.parents if above.is_relative_to(_CGROUPS))]
    return []


def _packages() -> tuple[list[str], list[str]]:
    """Return the required packages that are missing, and those of another version than the lock's."""
    missing = []
    try:
        required = importlib.metadata.requires(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        required = []
    for line in required:
        found = _NAME.match(line)
        if found and "extra ==" not in line and _version(found[0]) is None:
            missing.append(found[0])
    return missing, other_versions(_text(Path(gaia.__path__[0]).parent / _LOCK))


def other_versions(lock: str) -> list[str]:
    """Return the installed packages whose version is none of those that `lock` pins.

    A lock pins several versions of a package if they depend on the version of Python.
    """
    pinned: dict[str, list[str]] = {}
    for line in lock.splitlines():
        if found := _PINNED.match(line):
            pinned.setdefault(found[1], []).append(found[2])
    installed = {name: _version(name) for name in pinned}
    return [
        f"{name} {version} (lock: {' or '.join(pinned[name])})"
        for name, version in installed.items()
        if version not in (None, *pinned[name])
    ]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _free_mib(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free // _MIB
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.lstrip("-").isdigit() else None


def _text(path: Path) -> str:
    """Return the text of a small file without blanks around it; "" if it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
