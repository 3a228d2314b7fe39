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
import platform
import resource
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Payload = dict[str, Any]
Attempt = Callable[[Payload], object]

READS = ("spool",)
WRITES = ("fields",)
REFUSALS = {"EPERM", "EACCES", "ENOSYS", "ELOOP"}

_LIBC = ctypes.CDLL(None, use_errno=True)
_NUMBERS: Mapping[str, tuple[int, int]] = {
    "accept4": (288, 242),
    "acct": (163, 89),
    "add_key": (248, 217),
    "bind": (49, 200),
    "bpf": (321, 280),
    "capset": (126, 91),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "connect": (42, 203),
    "execveat": (322, 281),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsopen": (430, 430),
    "init_module": (175, 105),
    "inotify_init1": (294, 26),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "kcmp": (312, 272),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "landlock_create_ruleset": (444, 444),
    "listen": (50, 201),
    "madvise": (28, 233),
    "memfd_create": (319, 279),
    "mmap": (9, 222),
    "mount": (165, 40),
    "move_mount": (429, 429),
    "mprotect": (10, 226),
    "mq_open": (240, 180),
    "mremap": (25, 216),
    "msgget": (68, 186),
    "munmap": (11, 215),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "openat2": (437, 437),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "seccomp": (317, 277),
    "semget": (64, 190),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "setns": (308, 268),
    "setrlimit": (160, 164),
    "setsockopt": (54, 208),
    "shmget": (29, 194),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
_COLUMN = 0 if platform.machine() == "x86_64" else 1
_PINNED = 0x20 << 32
_QUEUED = struct.pack("iii116x", 0, 0, -1)
_NEW_NETWORK, _NEW_NAMES, _NEW_USER = 0x40000000, 0x04000000, 0x10000000
_FAMILIES = {
    "unix": 1,
    "inet": 2,
    "inet6": 10,
    "netlink": 16,
    "packet": 17,
    "rds": 21,
    "can": 29,
    "bluetooth": 31,
    "alg": 38,
    "vsock": 40,
    "xdp": 44,
}


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


def call(name: str, *arguments: int | bytes | None) -> int:
    """Make a system call with nothing in between; raises `OSError`."""
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = _LIBC.syscall(ctypes.c_long(_NUMBERS[name][_COLUMN]), *given)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return int(result)


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


def _socket(family: int) -> Attempt:
    kind = socket.SOCK_RAW if family == socket.AF_NETLINK else socket.SOCK_STREAM
    return lambda p: socket.socket(family, kind).close()


def _address(path: bytes) -> bytes:
    return struct.pack("=H", socket.AF_UNIX) + path


def _every_socket(attempt: Callable[[int], object]) -> None:
    """Try with each socket the worker has; raise what the last refusal was, if none did it."""
    refused: OSError | None = None
    for descriptor in range(3, 64):
        try:
            attempt(descriptor)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ENOTSOCK):
                refused = error
        else:
            return
    raise refused or OSError(errno.EBADF, "no socket")


def _dial(address: bytes) -> Attempt:
    def attempt(payload: Payload) -> None:
        content = address.replace(b"SIGNER", os.fsencode(payload["signer"]))
        # Ours are connected already, or wait for the engine's next life; a stranger's would do as well.
        with contextlib.suppress(OSError):
            socket.socket(socket.AF_UNIX).detach()
        _every_socket(lambda descriptor: call("connect", descriptor, content, len(content)))

    return attempt


def _on_every_socket(name: str, *arguments: int | bytes | None) -> Attempt:
    return lambda p: _every_socket(lambda descriptor: call(name, descriptor, *arguments))


def _udp_through_the_engine(payload: Payload) -> None:
    target = struct.pack("!BBH4s8x", 0, 2, 9, bytes([127, 0, 0, 1]))
    _every_socket(lambda descriptor: call("sendto", descriptor, b"x", 1, 0, target, 16))


def _tcp_to_loopback(payload: Payload) -> None:
    with socket.socket() as connection:
        connection.connect(("127.0.0.1", payload["port"]))


def _udp_to_loopback(payload: Payload) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"x", ("127.0.0.1", payload["port"]))


def _listen_on_tcp(payload: Payload) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()


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
    **{f"make a socket of the family {name}": _socket(family) for name, family in _FAMILIES.items()},
    "make a pair of sockets": lambda p: socket.socketpair(),
    "pass descriptors": _pass_descriptors,
    "connect to TCP on loopback": _tcp_to_loopback,
    "send UDP to loopback": _udp_to_loopback,
    "send UDP through the engine's socket": _udp_through_the_engine,
    "listen on TCP": _listen_on_tcp,
    "connect to the signer": _dial(_address(b"SIGNER\0")),
    "connect to an abstract socket": _dial(_address(b"\0dbus-of-somebody")),
    "bind": _on_every_socket("bind", _address(b"\0mine"), 7),
    "listen": _on_every_socket("listen", 1),
    "accept": _on_every_socket("accept4", None, None, 0x800),
    "set an option of a socket": _on_every_socket("setsockopt", 1, 7, struct.pack("i", 4096), 4),
    "call sendmsg": _on_every_socket("sendmsg", None, 0),
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
