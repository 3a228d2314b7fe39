"""Filter of the system calls that a compute worker may make, as a program run by the kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gaia.validator.app.sandbox.syscalls import AUDIT_ARCH, numbers_of

Instruction = tuple[int, int, int, int]
"""Instruction of classic BPF: (code, jump if true, jump if false, operand)."""

ALLOW: Final = 0x7FFF0000
NOTIFY: Final = 0x7FC00000
KILL: Final = 0x80000000
DENY: Final = 0x00050000 | errno.EPERM
ABSENT: Final = 0x00050000 | errno.ENOSYS

PINNED_HIGH: Final = 0x20
"""Addresses below (PINNED_HIGH + 1) * 4 GiB cannot be remapped; the pinned page lies in the last 4 GiB."""

_LOAD, _AND, _EQUAL, _ABOVE, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x35, 0x45, 0x06
_FAIL = -1
_SET_MODE_FILTER, _GET_ACTION_AVAILABLE = 1, 2
_X32_BIT = 0x40000000

_PROT_WRITE_EXEC = 0x2 | 0x4
_MAP_FIXED = 0x10
_MREMAP_MAYMOVE = 0x1
_THREAD_FLAGS = 0x3D0F00
"""Flags of clone for a thread of the C library; musl adds the unused CLONE_DETACHED."""
_CLONE_DETACHED = 0x400000

_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1034)
"""Allowed commands of fcntl; F_SETOWN and F_SETSIG are not, because they can signal other processes."""
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""Allowed requests of ioctl: terminal, its width, readable bytes, blocking, inheritance."""
_PRCTL = (3, 15, 16, 21, 39, 0x53564D41)
"""Allowed options of prctl: names of threads and memory, and queries."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


PLAIN: Final = _names(
    """
    access brk clock_getres clock_gettime clock_nanosleep close close_range dup epoll_create1 epoll_ctl
    epoll_pwait epoll_wait exit exit_group faccessat faccessat2 fadvise64 fallocate fdatasync flock fstat
    fsync ftruncate futex getcwd getdents64 getegid geteuid getgid getitimer getpeername getpid getppid
    getrandom getrlimit getrusage getsockname getsockopt gettid gettimeofday getuid lseek lstat membarrier
    mkdir mkdirat msync nanosleep newfstatat openat poll ppoll pread64 preadv pselect6 pwrite64 pwritev read
    readlink readlinkat readv recvfrom rename renameat renameat2 restart_syscall rseq rt_sigaction
    rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield select set_robust_list setitimer shutdown
    sigaltstack stat statx sysinfo times uname unlink unlinkat write writev
    """
)
"""Calls allowed with any arguments; Landlock or the broker judges those with a path."""

TRAPPED: Final = _names("openat mkdir mkdirat readlink readlinkat rename renameat renameat2 unlink unlinkat")
"""Calls that the broker answers if there is no Landlock."""

BROKER: Final = _names(
    """
    brk clock_gettime close exit exit_group fcntl fstat futex getpid getrandom gettid ioctl lseek lstat
    mkdir mkdirat mmap munmap newfstatat openat poll ppoll pread64 prctl read readlink readlinkat recvmsg
    rename renameat renameat2 restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn stat unlink unlinkat
    write
    """
)
"""Calls that the broker itself needs."""


FORBIDDEN: Final = _names(
    """
    add_key bpf execve execveat fork io_uring_setup keyctl mount perf_event_open pidfd_getfd process_vm_readv
    process_vm_writev ptrace setns unshare userfaultfd vfork
    """
)
"""Calls that no signer needs: programs, processes, and the memory of others."""


@dataclass(frozen=True, slots=True)
class Check:
    """One condition on an argument, as instructions; a jump to `_FAIL` means that it is false."""

    instructions: tuple[Instruction, ...]


Rule = Sequence[Sequence[Check]]
"""Alternatives, each a list of checks; a call is allowed if all checks of one alternative hold."""


def equals(argument: int, value: int) -> Check:
    """Check that all 64 bits of the argument equal `value`."""
    return Check(
        (
            _low(argument),
            (_EQUAL, 0, _FAIL, value & 0xFFFFFFFF),
            _high(argument),
            (_EQUAL, 0, _FAIL, value >> 32),
        )
    )


def one_of(argument: int, values: Sequence[int]) -> Check:
    """Check that the argument, which the kernel reads as 32 bits, is one of `values`."""
    *others, last = values
    jumps = [(_EQUAL, len(others) - index, 0, value) for index, value in enumerate(others)]
    return Check((_low(argument), *jumps, (_EQUAL, 0, _FAIL, last)))


def no_bits(argument: int, mask: int) -> Check:
    """Check that no bit of `mask` is set in the low half."""
    return Check((_low(argument), (_ANY_BIT, _FAIL, 0, mask)))


def all_bits(argument: int, mask: int) -> Check:
    """Check that all bits of `mask` are set in the low half."""
    return Check((_low(argument), (_AND, 0, 0, mask), (_EQUAL, 0, _FAIL, mask)))


def not_all_bits(argument: int, mask: int) -> Check:
    """Check that at least one bit of `mask` is clear in the low half."""
    return Check((_low(argument), (_AND, 0, 0, mask), (_EQUAL, _FAIL, 0, mask)))


def above_pinned(argument: int) -> Check:
    """Check that the argument is an address above all pinned memory."""
    return Check((_high(argument), (_ABOVE, 0, _FAIL, PINNED_HIGH)))


def _threads() -> Rule:
    """Return the rule of clone for threads, but for no processes."""
    return [[all_bits(0, _THREAD_FLAGS), no_bits(0, 0xFFFFFFFF & ~(_THREAD_FLAGS | _CLONE_DETACHED))]]


def worker_rules(pid: int, address: tuple[int, int] | None) -> Mapping[str, Rule]:
    """Return the calls that are allowed only with some arguments.

    Parameters
    ----------
    pid
        Pid of the worker, which may signal only itself.
    address
        Address and length of the pinned socket address in memory; None: no connection is allowed.
    """
    is_own = one_of(0, (pid,))
    is_not_code_to_write = not_all_bits(2, _PROT_WRITE_EXEC)
    rules: dict[str, Rule] = {
        "clone": _threads(),
        "fcntl": [[one_of(1, _FCNTL)]],
        "ioctl": [[one_of(1, _IOCTL)]],
        "kill": [[is_own]],
        "madvise": [[above_pinned(0)]],
        "mmap": [[is_not_code_to_write, no_bits(3, _MAP_FIXED)], [is_not_code_to_write, above_pinned(0)]],
        "mprotect": [[is_not_code_to_write, above_pinned(0)]],
        "mremap": [[above_pinned(0), no_bits(3, 0xFFFFFFFF & ~_MREMAP_MAYMOVE)]],
        "munmap": [[above_pinned(0)]],
        "prctl": [[one_of(0, _PRCTL)]],
        "prlimit64": [[one_of(0, (0, pid)), equals(2, 0)]],
        "sendto": [[equals(4, 0)]],
        "tgkill": [[is_own]],
    }
    if address is not None:
        rules["connect"] = [[equals(1, address[0]), equals(2, address[1])]]
    return rules


def worker_filter(pid: int, address: tuple[int, int] | None, machine: str) -> bytes:
    """Return the filter of a compute worker, which refuses all calls that computing does not need.

    Raises
    ------
    KeyError
        If `machine` is unknown.
    """
    numbers = numbers_of(machine)
    body = [*_each(numbers, PLAIN, ALLOW), *_each(numbers, ("clone3", "openat2"), ABSENT)]
    for name, rule in worker_rules(pid, address).items():
        body += _ruled(numbers[name], rule)
    return _program(machine, body, DENY)


def signer_filter(machine: str) -> bytes:
    """Return the filter of the chain signer, which speaks to the network: it refuses programs and processes.

    Raises
    ------
    KeyError
        If `machine` is unknown.
    """
    numbers = numbers_of(machine)
    body = [*_each(numbers, FORBIDDEN, DENY), *_each(numbers, ("clone3",), ABSENT)]
    return _program(machine, [*body, *_ruled(numbers["clone"], _threads())], ALLOW)


def trap_filter(machine: str) -> bytes:
    """Return the filter that passes calls with a path to the broker, and leaves others to `worker_filter`."""
    return _program(machine, _each(numbers_of(machine), TRAPPED, NOTIFY), ALLOW)


def broker_filter(machine: str) -> bytes:
    """Return the filter of the broker: files, but no sockets, processes or signals."""
    return _program(machine, _each(numbers_of(machine), BROKER, ALLOW), DENY)


def knows(action: int) -> bool:
    """Return whether this kernel supports filters with `action`."""
    described = struct.pack("I", action & 0xFFFF0000)
    try:
        return _seccomp(_GET_ACTION_AVAILABLE, 0, described) == 0
    except OSError:
        return False


def install(program: bytes, *, flags: int) -> int:
    """Make the kernel run `program` before each system call of every thread, for good.

    Parameters
    ----------
    flags
        Flags of seccomp(2).

    Returns
    -------
    int
        Descriptor of the listener if the flags request one, else 0.

    Raises
    ------
    OSError
        If the kernel refuses.
    """
    instructions = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(instructions))
    return _seccomp(_SET_MODE_FILTER, flags, described)


def _seccomp(operation: int, flags: int, described: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    number = numbers_of(os.uname().machine)["seccomp"]
    result = libc.syscall(*map(ctypes.c_long, (number, operation, flags)), described)
    if result < 0:
        raise OSError(ctypes.get_errno(), "seccomp: " + os.strerror(ctypes.get_errno()))
    return int(result)


def _program(machine: str, body: Iterable[Instruction], otherwise: int) -> bytes:
    is_wide_only = [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, KILL)] if machine == "x86_64" else []
    instructions = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, 0),
        *is_wide_only,
        *body,
        (_RETURN, 0, 0, otherwise),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


def _each(numbers: Mapping[str, int], names: Iterable[str], verdict: int) -> list[Instruction]:
    """Return instructions with one verdict for each of `names` that the machine has."""
    body: list[Instruction] = []
    for number in sorted(numbers[name] for name in names if name in numbers):
        body += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, verdict)]
    return body


def _ruled(number: int, rule: Rule) -> list[Instruction]:
    """Return instructions that decide the call with this number."""
    block: list[Instruction] = []
    for alternative in rule:
        checks = [instruction for check in alternative for instruction in check.instructions]
        for index, (code, true, false, operand) in enumerate(checks):
            onward = len(checks) - index
            block.append(
                (code, onward if true == _FAIL else true, onward if false == _FAIL else false, operand)
            )
        block.append((_RETURN, 0, 0, ALLOW))
    block.append((_RETURN, 0, 0, DENY))
    return [(_EQUAL, 0, len(block), number), *block]


def _low(argument: int) -> Instruction:
    return (_LOAD, 0, 0, 16 + 8 * argument)


def _high(argument: int) -> Instruction:
    return (_LOAD, 0, 0, 20 + 8 * argument)
