"""Confines a compute worker: no network, programs or processes, and only the files of its handlers. And the signer."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import stat
import struct
import sys
import sysconfig
from dataclasses import dataclass
from enum import IntEnum
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, NoReturn

from gaia.validator.app.sandbox import landlock, seccomp
from gaia.validator.app.sandbox.broker import Broker
from gaia.validator.app.sandbox.syscalls import AUDIT_ARCH, machine, numbers_of
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from gaia.validator.utils.machine.parent_death import die_with_parent

if TYPE_CHECKING:
    from gaia.validator.app.sandbox.dial import EngineDial
    from gaia.validator.utils.ipc_types import SandboxMode

MAX_FILES: Final = 128
MAX_FILE_BYTES: Final = 1 << 30

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_TSYNC, _NEW_LISTENER, _TSYNC_ESRCH, _WAIT_KILLABLE = 1, 8, 16, 32
_CAPABILITY_VERSION = 0x20080522
_BROKERED_FROM = (5, 9)
"""First Linux version that lets a broker pass descriptors."""
_SYSTEM = ("/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/lib", "/lib64")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/zero", "/dev/urandom")
_MANY_FILES = 65536
_PACKAGES = ("site-packages", "dist-packages")


class Level(IntEnum):
    """Level of protection; the value of the metric `gaia_sandbox_level`."""

    NONE = 0
    PARTIAL = 1
    """Partial: either files or system calls are unprotected."""
    BROKERED = 2
    """System calls are filtered, and a broker opens files."""
    FULL = 3
    """System calls are filtered, and Landlock guards files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Features of this kernel."""

    landlock: int
    """Version of Landlock; 0: none."""
    seccomp: bool
    broker: bool
    """Whether a filter can pass calls to a broker."""

    @property
    def level(self) -> Level:
        """The highest possible level."""
        if not self.seccomp:
            return Level.PARTIAL if self.landlock else Level.NONE
        return Level.FULL if self.landlock else Level.BROKERED if self.broker else Level.PARTIAL

    def __str__(self) -> str:
        landlock = f"Landlock {self.landlock}" if self.landlock else "no Landlock"
        seccomp = "seccomp" if self.seccomp else "no seccomp"
        broker = "" if self.landlock else ", a broker for files" if self.broker else ", no broker for files"
        return f"{self.level.name.lower()}: {landlock}, {seccomp}{broker}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Files that a worker may access."""

    read: tuple[str, ...]
    write: tuple[str, ...] = ()


def survey() -> Survey:
    """Return the features of the kernel; change nothing."""
    if sys.platform != "linux" or machine() not in AUDIT_ARCH:
        return Survey(landlock=0, seccomp=False, broker=False)
    has_seccomp = seccomp.knows(seccomp.DENY)
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2] if part.isdigit())
    return Survey(
        landlock=landlock.abi_version(),
        seccomp=has_seccomp,
        broker=has_seccomp and seccomp.knows(seccomp.NOTIFY) and release >= _BROKERED_FROM,
    )


def require_sandbox(mode: SandboxMode) -> None:
    """Raise if `mode` requires more than the kernel offers.

    Raises
    ------
    ConfigurationError
        With `ExitCode.SANDBOX_UNAVAILABLE`.
    """
    offered = survey()
    if mode == "required" and offered.level < Level.BROKERED:
        raise _unavailable(f"this kernel offers no whole sandbox ({offered})")


def grant_for(data_dir: str, handlers: str) -> Grant:
    """Return the files that the handlers of the module `handlers` need.

    `READS` and `WRITES` of the module name folders below `data_dir`, which are made if missing.
    The grant adds Python and its libraries, the system's libraries, and the module's package. It
    excludes the package's parent folder, which holds `.env`, and the rest of `data_dir`.
    """
    module = import_module(handlers)
    folders = {}
    for name in ("READS", "WRITES"):
        folders[name] = [str(Path(data_dir, folder)) for folder in getattr(module, name, ())]
        for folder in folders[name]:
            Path(folder).mkdir(parents=True, exist_ok=True)
    own = {_place_of(name.partition(".")[0]) for name in (handlers, __name__)}
    paths = sysconfig.get_paths()
    python = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    shared = sysconfig.get_config_var("LIBDIR")
    packages = {path for path in sys.path if path.rpartition("/")[2] in _PACKAGES}
    libraries = sorted({*python, *packages, *own, *([shared] if shared else [])})
    return Grant(
        read=(*libraries, *_SYSTEM, *_SYSTEM_FILES, *folders["READS"]), write=tuple(folders["WRITES"])
    )


def _place_of(name: str) -> str:
    """Return the folder of a package, or the file of a single module."""
    module = import_module(name)
    return str(next(iter(getattr(module, "__path__", ())), module.__file__))


def confine(mode: SandboxMode, grant: Grant, dial: EngineDial | None = None) -> Level:
    """Confine this process for good; it must have only one thread.

    Parameters
    ----------
    mode
        ``off`` does nothing; ``best-effort`` uses what the kernel offers.
    grant
        The files that stay accessible.
    dial
        The only address that stays reachable.

    Raises
    ------
    ConfigurationError
        With `ExitCode.SANDBOX_UNAVAILABLE`, if the protection is less than `mode` requires.
    """
    if mode == "off":
        return Level.NONE
    offered = survey()
    if mode == "required, without Landlock":
        offered = Survey(landlock=0, seccomp=offered.seccomp, broker=offered.broker)
    try:
        level = _confine(offered, grant, dial)
    except OSError as error:
        if mode != "best-effort":
            raise _unavailable(f"the sandbox cannot be entered ({error})") from error
        return Level.PARTIAL
    if mode != "best-effort" and level < Level.BROKERED:
        raise _unavailable(f"this kernel offers no whole sandbox ({offered})")
    return level


def confine_signer(mode: SandboxMode) -> bool:
    """Forbid this process to run programs, make processes and reach into others; return whether the kernel does so.

    It keeps the network and files, which its work needs.

    Raises
    ------
    ConfigurationError
        With `ExitCode.SANDBOX_UNAVAILABLE`, if `mode` requires a sandbox and the kernel offers none.
    """
    offered = survey()
    if mode == "off" or not offered.seccomp:
        if mode not in ("off", "best-effort"):
            raise _unavailable(f"this kernel offers no filter for the signer ({offered})")
        return False
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        seccomp.install(seccomp.signer_filter(machine()), flags=_TSYNC)
    except OSError as error:
        if mode != "best-effort":
            raise _unavailable(f"the signer cannot be confined ({error})") from error
        return False
    return True


def _confine(offered: Survey, grant: Grant, dial: EngineDial | None) -> Level:
    address = dial.pin() if dial is not None else None
    _limit_resources()
    _drop_capabilities()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if offered.landlock:
        landlock.restrict(offered.landlock, grant.read, grant.write)
    elif offered.broker:
        _hire_broker(grant)
    # Processes of our user may not read our memory, and no core is dumped.
    _prctl(_PR_SET_DUMPABLE, 0)
    if offered.seccomp:
        seccomp.install(seccomp.worker_filter(os.getpid(), address, machine()), flags=_TSYNC)
    return offered.level


def _limit_resources() -> None:
    """Set hard limits: no core files, few descriptors, bounded files."""
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: MAX_FILES}
    # If the log goes to a file, the limit must exceed that file's size.
    if not stat.S_ISREG(os.fstat(2).st_mode):
        limits[resource.RLIMIT_FSIZE] = MAX_FILE_BYTES
    for kind, limit in limits.items():
        _, hard = resource.getrlimit(kind)
        lowered = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (lowered, lowered))


def _drop_capabilities() -> None:
    """Drop all capabilities, which makes root an ordinary user."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, none = struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24)
    if libc.syscall(ctypes.c_long(numbers_of(machine())["capset"]), header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset: " + os.strerror(ctypes.get_errno()))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3) != 0:
        raise OSError(ctypes.get_errno(), "prctl: " + os.strerror(ctypes.get_errno()))


def _hire_broker(grant: Grant) -> None:
    """Fork the broker, and let a filter pass calls with a path to it."""
    ours, theirs = socket.socketpair()
    # Opened here, while it is permitted; a process that dropped root might not open it later.
    _prctl(_PR_SET_DUMPABLE, 1)
    memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    worker = os.getpid()
    with ours, theirs:
        if os.fork() == 0:
            _be_broker(grant, memory, theirs, worker)
        os.close(memory)
        # Without a broker every file would vanish, so the worker must be replaced.
        signal.signal(signal.SIGCHLD, _give_up)
        program = seccomp.trap_filter(machine())
        both = _TSYNC | _TSYNC_ESRCH | _NEW_LISTENER
        try:
            listener = seccomp.install(program, flags=both | _WAIT_KILLABLE)
        except OSError:
            # Linux before 5.19 may ask twice when a signal comes in between.
            listener = seccomp.install(program, flags=both)
        socket.send_fds(ours, [b"!"], [listener])
        os.close(listener)


def _give_up(_signum: int, _frame: FrameType | None) -> None:
    os._exit(ExitCode.CRASH)


def _be_broker(grant: Grant, memory: int, channel: socket.socket, worker: int) -> NoReturn:
    try:
        die_with_parent(worker)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        broker = Broker(grant.read, grant.write, memory, machine())
        _, (listener, *_), *_ = socket.recv_fds(channel, 1, 1)
        _close_all_but(memory, listener)
        _prctl(_PR_SET_DUMPABLE, 0)
        seccomp.install(seccomp.broker_filter(machine()), flags=_TSYNC)
        broker.serve(listener)
    finally:
        os._exit(ExitCode.CRASH)


def _close_all_but(*kept: int) -> None:
    """Close all descriptors except the standard ones and `kept`."""
    first = 3
    for descriptor in sorted(kept):
        if descriptor > first:
            os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _MANY_FILES)


def _unavailable(problem: str) -> ConfigurationError:
    return ConfigurationError(
        "GAIA_SANDBOX",
        problem,
        "use Linux 5.13 or newer with Landlock or 5.9 with seccomp, let the container use them, "
        "or set it to best-effort and accept the risk",
        ExitCode.SANDBOX_UNAVAILABLE,
    )
