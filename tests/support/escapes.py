"""Ways out of a compute worker, tried from inside one; handlers as the real ones are.

An escape is refused if it ends in EPERM, EACCES, ENOSYS or, at a link, ELOOP. Arguments are chosen so that, outside a
sandbox, each does no lasting harm and ends in success or in another error.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.socket_escapes import (
    FAMILIES,
    Attempt,
    Payload,
    address_of,
    dial,
    listen_on_tcp,
    new_socket,
    on_every_socket,
    tcp_to_loopback,
    udp_through_the_engine,
    udp_to_loopback,
)
from tests.support.syscalls import call

READS = ("spool",)
WRITES = ("fields",)
REFUSALS = {"EPERM", "EACCES", "ENOSYS", "ELOOP"}

_PINNED = 0x20 << 32
_QUEUED = struct.pack("iii116x", 0, 0, -1)
_NEW_NETWORK, _NEW_NAMES, _NEW_USER = 0x40000000, 0x04000000, 0x10000000


def resolve(name: str) -> Callable[[Payload], Payload]:
    """Return the handler of that name."""
    handler: Callable[[Payload], Payload] = {"escape": escape, "look": look, "echo": echo}[name]
    return handler


def echo(payload: Payload) -> Payload:
    """Answer the payload, and who answers."""
    return {**payload, "pid": os.getpid()}


def look(payload: Payload) -> Payload:
    """Read a file of the spool and write one of the fields, as handlers do."""
    folder = Path(payload["fields"], "deep", "er")
    folder.mkdir(parents=True)
    draft = folder / "a.part"
    draft.write_bytes(Path(payload["spool"], "plain").read_bytes())
    draft.replace(folder / "a")
    content = (folder / "a").read_text()
    (folder / "a").unlink()
    return {"content": content, "left": os.listdir(folder)}


def escape(payload: Payload) -> Payload:
    """Try the escape called ``name``; answer how it ended: an error's name, or "done"."""
    try:
        ESCAPES[payload["name"]](payload)
    except OSError as error:
        number = error.errno or 0
        return {"outcome": errno.errorcode.get(number, str(number))}
    return {"outcome": "done"}


def _read(path: str) -> Attempt:
    return lambda p: Path(path.format(**p)).read_bytes()


def _overwrite(path: str) -> Attempt:
    def attempt(payload: Payload) -> None:
        os.close(os.open(path.format(**payload), os.O_WRONLY))

    return attempt


def _create(path: str) -> Attempt:
    def attempt(payload: Payload) -> None:
        target = path.format(**payload)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o600))
        os.unlink(target)

    return attempt


def _raw(name: str, *arguments: int | bytes | None) -> Attempt:
    return lambda p: call(name, *arguments)


def _in_a_child(start: Callable[[], int]) -> Attempt:
    def attempt(payload: Payload) -> None:
        pid = start()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    return attempt


def _relative_to_a_folder(payload: Payload) -> None:
    folder = os.open(payload["spool"], os.O_RDONLY)
    try:
        os.close(os.open("../key", os.O_RDONLY, dir_fd=folder))
    finally:
        os.close(folder)


def _from_elsewhere(payload: Payload) -> None:
    os.chdir(payload["outside"])
    Path("key").read_bytes()


def _execute_memory(payload: Payload) -> None:
    descriptor = call("memfd_create", b"x\0", 0)
    os.write(descriptor, b"no program")
    call("execveat", descriptor, b"\0", None, None, 0x1000)


def _linked(payload: Payload) -> None:
    link = Path(payload["fields"], "link")
    link.symlink_to("/etc/shadow")
    link.unlink()


def _hard_linked(payload: Payload) -> None:
    link = Path(payload["fields"], "hard")
    os.link(payload["key"], link)
    link.unlink()


def _moved_in(payload: Payload) -> None:
    taken = Path(payload["fields"], "taken")
    os.rename(payload["key"], taken)
    os.rename(taken, payload["key"])


def _moved_out(payload: Payload) -> None:
    made = Path(payload["fields"], "made")
    made.write_bytes(b"x")
    try:
        os.rename(made, Path(payload["outside"], "made"))
    finally:
        with contextlib.suppress(FileNotFoundError):
            made.unlink()


def _a_device(payload: Payload) -> None:
    made = Path(payload["fields"], "device")
    os.mknod(made, 0o600 | 0o020000, os.makedev(1, 1))
    made.unlink()


def _a_pipe(payload: Payload) -> None:
    made = Path(payload["fields"], "pipe")
    os.mkfifo(made)
    made.unlink()


def _a_folder(payload: Payload) -> None:
    made = Path(payload["outside"], "folder")
    made.mkdir()
    made.rmdir()


def _pass_descriptors(payload: Payload) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.send_fds(ours, [b"x"], [0])


def _own_a_descriptor(payload: Payload) -> None:
    """Have the kernel send our parent signals on our behalf (F_SETOWN)."""
    import fcntl

    fcntl.fcntl(2, fcntl.F_SETOWN, os.getppid())
    fcntl.fcntl(2, fcntl.F_SETOWN, 0)


def _signal_of_a_descriptor(payload: Payload) -> None:
    import fcntl

    fcntl.fcntl(2, 10, 0)


def _raise_limit(kind: int) -> Attempt:
    def attempt(payload: Payload) -> None:
        call("setrlimit", kind, struct.pack("QQ", *(limit % 2**64 for limit in resource.getrlimit(kind))))

    return attempt


def _code_to_write(payload: Payload) -> None:
    try:
        mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except PermissionError as error:
        raise OSError(errno.EPERM, "mmap") from error


def _priority_of_the_parent(payload: Payload) -> None:
    os.setpriority(os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, 0))


def _traced_parent(payload: Payload) -> None:
    call("ptrace", 0x4206, os.getppid(), 0, 0)
    call("ptrace", 17, os.getppid(), 0, 0)


def _stream(name: str) -> Attempt:
    place = ctypes.create_string_buffer(8)
    vector = struct.pack("QQ", ctypes.addressof(place), 8)
    remote = struct.pack("QQ", 16, 8)
    return lambda p: call(name, os.getppid(), vector, 1, remote, 1, 0)


def _by_pidfd(payload: Payload) -> None:
    call("pidfd_send_signal", call("pidfd_open", os.getppid(), 0), 0, None, 0)


def _of_another(payload: Payload) -> None:
    os.close(call("pidfd_getfd", call("pidfd_open", os.getppid(), 0), 0, 0))


ESCAPES: dict[str, Attempt] = {
    # files
    "read the password file": _read("/etc/shadow"),
    "read a key": _read("{key}"),
    "read a key through a link": _read("{spool}/link"),
    "read a key through dots": _read("{spool}/../key"),
    "read a key relative to a folder": _relative_to_a_folder,
    "read a key from its own folder": _from_elsewhere,
    "read a key by openat2": lambda p: call("openat2", -100, os.fsencode(p["key"]), bytes(24), 24),
    "read the settings beside the package": _read("{package}/../pyproject.toml"),
    "read another folder of the data folder": _read("{data}/other/secret"),
    "read the board of processes": _read("{data}/run/board"),
    "list the root folder": lambda p: os.listdir("/"),
    "list the home folder": lambda p: os.listdir(Path.home()),
    "overwrite the password file": _overwrite("/etc/shadow"),
    "overwrite a key": _overwrite("{key}"),
    "overwrite what was downloaded": _overwrite("{spool}/plain"),
    "overwrite the package": _overwrite("{package}/__init__.py"),
    "overwrite the standard library": _overwrite(os.__file__),
    "overwrite through a link": _overwrite("{fields}/link-to-key"),
    "create beside the key": _create("{outside}/made"),
    "create in the temporary folder": _create("/tmp/made-by-an-escape"),
    "create in the shared memory": _create("/dev/shm/made-by-an-escape"),
    "create in the package": _create("{package}/made.py"),
    "create a folder elsewhere": _a_folder,
    "create a symbolic link": _linked,
    "create a hard link to a key": _hard_linked,
    "create a device": _a_device,
    "create a pipe": _a_pipe,
    "move a key here": _moved_in,
    "move a file out": _moved_out,
    "remove a key": lambda p: os.unlink(p["victim"]),
    "truncate a key by its path": lambda p: os.truncate(p["key"], 3),
    "change the mode of a key": lambda p: os.chmod(p["key"], 0o600),
    "change the owner of a key": lambda p: os.chown(p["key"], -1, -1),
    "change the time of a key": lambda p: os.utime(p["key"]),
    "change the attributes of a key": lambda p: os.setxattr(p["key"], "user.x", b"x"),
    "open by handle": _raw("open_by_handle_at", -1, bytes(16), 0),
    "make a handle": lambda p: call("name_to_handle_at", -100, os.fsencode(p["key"]), None, None, 0),
    "make a file in memory": _raw("memfd_create", b"x\0", 0),
    "watch files": _raw("inotify_init1", 0),
    "watch all files": _raw("fanotify_init", 0, 0),
    # other processes' secrets
    "read the parent's environment": lambda p: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "read the parent's memory": lambda p: os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY)),
    "read the parent's map": lambda p: Path(f"/proc/{os.getppid()}/maps").read_bytes(),
    "list the parent's files": lambda p: os.listdir(f"/proc/{os.getppid()}/fd"),
    "read our own environment": lambda p: Path("/proc/self/environ").read_bytes(),
    "write our own memory by file": lambda p: os.close(os.open("/proc/self/mem", os.O_RDWR)),
    "call process_vm_readv": _stream("process_vm_readv"),
    "call process_vm_writev": _stream("process_vm_writev"),
    "call ptrace": _traced_parent,
    "call kcmp": lambda p: call("kcmp", os.getpid(), os.getppid(), 0, 0, 0),
    "take a descriptor of another": _of_another,
    "call process_madvise": _raw("process_madvise", -1, None, 0, 0, 0),
    # sockets
    **{f"make a socket of the family {name}": new_socket(family) for name, family in FAMILIES.items()},
    "make a pair of sockets": lambda p: socket.socketpair(),
    "pass descriptors": _pass_descriptors,
    "connect to TCP on loopback": tcp_to_loopback,
    "send UDP to loopback": udp_to_loopback,
    "send UDP through the engine's socket": udp_through_the_engine,
    "listen on TCP": listen_on_tcp,
    "connect to the signer": dial(address_of(b"SIGNER\0")),
    "connect to an abstract socket": dial(address_of(b"\0dbus-of-somebody")),
    "bind": on_every_socket("bind", address_of(b"\0mine"), 7),
    "listen": on_every_socket("listen", 1),
    "accept": on_every_socket("accept4", None, None, 0x800),
    "set an option of a socket": on_every_socket("setsockopt", 1, 7, struct.pack("i", 4096), 4),
    "call sendmsg": on_every_socket("sendmsg", None, 0),
    # the pinned address of the engine
    "make the pinned address writable": _raw("mprotect", _PINNED, 4096, 3),
    "make the pinned address writable from below": _raw("mprotect", _PINNED - 4096, 8192, 3),
    "unmap the pinned address": _raw("munmap", _PINNED, 4096),
    "empty the pinned address": _raw("madvise", _PINNED, 4096, 4),
    "move memory over the pinned address": lambda p: call("mremap", 0x7F0000000000, 4096, 4096, 3, _PINNED),
    "map over the pinned address": _raw("mmap", _PINNED, 4096, 3, 0x32, -1, 0),
    # processes and programs
    "fork": _in_a_child(os.fork),
    "clone a process": _in_a_child(lambda: call("clone", signal.SIGCHLD, 0, 0, 0, 0)),
    "clone into another network": _in_a_child(
        lambda: call("clone", signal.SIGCHLD | _NEW_NETWORK, 0, 0, 0, 0)
    ),
    "clone3": lambda p: call("clone3", bytes(64), 1),
    "execve": lambda p: os.execv(p["program"], ["x"]),
    "execveat": lambda p: call("execveat", -100, os.fsencode(p["program"]) + b"\0", None, None, 0),
    "execute memory": _execute_memory,
    "spawn": lambda p: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
    "run a program": lambda p: subprocess.run(["/bin/true"], check=True),
    # signals
    "signal the parent": lambda p: os.kill(os.getppid(), 0),
    "signal everybody": lambda p: os.kill(-1, 0),
    "signal our group": lambda p: os.kill(0, 0),
    "signal the parent's thread": lambda p: call("tgkill", os.getppid(), os.getppid(), 0),
    "signal the parent by tkill": lambda p: call("tkill", os.getppid(), 0),
    "signal the parent by queue": lambda p: call("rt_sigqueueinfo", os.getppid(), 0, _QUEUED),
    "signal a thread by queue": lambda p: call("rt_tgsigqueueinfo", os.getppid(), os.getppid(), 0, _QUEUED),
    "signal by pidfd": _by_pidfd,
    "have the kernel signal the parent": _own_a_descriptor,
    "choose that signal": _signal_of_a_descriptor,
    # limits and privileges
    "raise our own memory limit": _raise_limit(resource.RLIMIT_DATA),
    "raise our own limit of files": _raise_limit(resource.RLIMIT_NOFILE),
    "limit the parent": lambda p: call("prlimit64", os.getppid(), 7, None, bytes(16)),
    "change the parent's priority": _priority_of_the_parent,
    "outlive the parent": _raw("prctl", 1, 0, 0, 0, 0),
    "be readable for others": _raw("prctl", 4, 1, 0, 0, 0),
    "keep capabilities": _raw("prctl", 8, 0, 0, 0, 0),
    "install a filter of our own": _raw("seccomp", 1, 0, None),
    "install a ruleset of our own": _raw("landlock_create_ruleset", None, 0, 1),
    "setuid": lambda p: os.setuid(os.getuid()),
    "setgid": lambda p: os.setgid(os.getgid()),
    "setgroups": lambda p: os.setgroups(os.getgroups()),
    "capset": _raw("capset", None, None),
    "chroot": lambda p: os.chroot("/"),
    "pivot_root": _raw("pivot_root", None, None),
    "unshare the network": _raw("unshare", _NEW_NETWORK),
    "unshare the host's name": _raw("unshare", _NEW_NAMES),
    "unshare the users": _raw("unshare", _NEW_USER | 0x1),
    "enter a namespace": _raw("setns", -1, 0),
    "mount": _raw("mount", None, None, None, 0, None),
    "umount": _raw("umount2", None, 0),
    "open a tree": _raw("open_tree", -100, None, 0),
    "open a file system": _raw("fsopen", None, 0),
    "move a mount": _raw("move_mount", -1, None, -1, None, 0),
    "personality": _raw("personality", 0xFFFFFFFF),
    # the rest of the kernel
    "io_uring": _raw("io_uring_setup", 1, None),
    "bpf": _raw("bpf", 0, None, 0),
    "performance counters": _raw("perf_event_open", None, 0, -1, -1, 0),
    "keyrings": _raw("keyctl", 0, -3, 0, 0, 0),
    "add a key": _raw("add_key", None, None, None, 0, 0),
    "request a key": _raw("request_key", None, None, None, 0),
    "userfaultfd": _raw("userfaultfd", 0x80000),
    "load a module": _raw("init_module", None, 0, None),
    "load a module from a file": _raw("finit_module", -1, None, 0),
    "another kernel": _raw("kexec_load", 0, 0, None, 0),
    "reboot": _raw("reboot", 0, 0, 0, None),
    "swap": _raw("swapon", None, 0),
    "accounting": _raw("acct", b"/nowhere/at/all\0"),
    "set the clock": _raw("clock_settime", 0, None),
    "read the kernel's log": _raw("syslog", 10, None, 0),
    "shared memory of System V": _raw("shmget", 0, 4096, 0o1600),
    "semaphores of System V": _raw("semget", 0, 1, 0o1600),
    "messages of System V": _raw("msgget", 0, 0o1600),
    "message queues": _raw("mq_open", b"mine\0", 0o102, 0o600, None),
    "type into the terminal": lambda p: call("ioctl", 2, 0x5412, b"x"),
    "memory to write and to execute": _code_to_write,
}
