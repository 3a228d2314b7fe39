"""The broker opens files for a worker without Landlock, after it has resolved their real place."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gaia.validator.app.sandbox.syscalls import numbers_of

AT_FDCWD: Final = -100
NOTIFICATION: Final = struct.Struct("=QIIiIQ6Q")
"""Layout of struct seccomp_notif: id, pid, flags; and the call: number, machine, instruction, arguments."""

_RECEIVE, _ANSWER, _ADD_DESCRIPTOR = 0xC0502100, 0xC0182101, 0x40182103
_AND_ANSWER = 2
_LONGEST_PATH = 4096
_PAGE = os.sysconf("SC_PAGESIZE")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_OPEN_FLAGS = (
    _WRITING
    | os.O_EXCL
    | os.O_CLOEXEC
    | os.O_DIRECTORY
    | os.O_NOFOLLOW
    | os.O_NONBLOCK
    | os.O_LARGEFILE
    | 0x8000
)

Call = Callable[[Sequence[int]], int]


class Broker:
    """Decides which paths the worker may use, and performs its calls.

    It decides on a descriptor of the real place, after following links, and acts through the same
    descriptor. Nothing can therefore be exchanged in between.

    Parameters
    ----------
    read, write
        Files and folders, as in `landlock.restrict`.
    memory
        Descriptor of the worker's memory, for reading paths.
    machine
        Machine that defines the numbers of the calls.
    """

    def __init__(self, read: Sequence[str], write: Sequence[str], memory: int, machine: str) -> None:
        self._write = [os.path.realpath(path) for path in write]
        self._read = [*self._write, *(os.path.realpath(path) for path in read)]
        self._memory = memory
        calls: dict[str, Call] = {
            "mkdir": lambda a: self._make_folder(AT_FDCWD, a[0], a[1]),
            "mkdirat": lambda a: self._make_folder(a[0], a[1], a[2]),
            "rename": lambda a: self._rename(AT_FDCWD, a[0], AT_FDCWD, a[1], 0),
            "renameat": lambda a: self._rename(a[0], a[1], a[2], a[3], 0),
            "renameat2": lambda a: self._rename(a[0], a[1], a[2], a[3], a[4]),
            "unlink": lambda a: self._remove(AT_FDCWD, a[0], 0),
            "unlinkat": lambda a: self._remove(a[0], a[1], a[2]),
        }
        numbers = numbers_of(machine)
        self._calls = {numbers[name]: call for name, call in calls.items() if name in numbers}
        self._openat = numbers["openat"]

    def serve(self, listener: int) -> None:
        """Answer the worker's calls until it has ended."""
        while True:
            notification = bytearray(NOTIFICATION.size)
            try:
                fcntl.ioctl(listener, _RECEIVE, notification)
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                if error.errno == errno.ENOENT and not _is_gone(listener):
                    continue  # the caller was interrupted
                return
            identity, _, _, number, _, _, *arguments = NOTIFICATION.unpack(notification)
            try:
                if number == self._openat:
                    opened = self.open(*arguments[:4])
                    try:
                        self._hand_over(listener, identity, opened, arguments[2])
                    finally:
                        os.close(opened)
                    continue
                result, problem = self.call(number, arguments), 0
            except OSError as error:
                result, problem = 0, -(error.errno or errno.EACCES)
            except (OverflowError, ValueError):
                result, problem = 0, -errno.EFAULT
            _reply(listener, identity, result, problem)

    def open(self, directory: int, path_at: int, flags: int, mode: int) -> int:
        """Return a descriptor of the file that the worker wants to open.

        Raises
        ------
        OSError
            If it may not or cannot be opened.
        """
        path, flags = self._path(directory, path_at), flags & 0xFFFFFFFF
        if flags & ~_OPEN_FLAGS:
            raise PermissionError(errno.EACCES, "unusual way to open")
        if flags & _WRITING:
            parent, name = self._parent(path)
            try:
                return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, mode & 0o777, dir_fd=parent)
            finally:
                os.close(parent)
        place = os.open(path, os.O_PATH | os.O_CLOEXEC | (flags & (os.O_NOFOLLOW | os.O_DIRECTORY)))
        try:
            self._require(place, self._read)
            return os.open(f"/proc/self/fd/{place}", (flags & ~os.O_NOFOLLOW) | os.O_CLOEXEC)
        finally:
            os.close(place)

    def call(self, number: int, arguments: Sequence[int]) -> int:
        """Perform a call that returns no descriptor; return its result.

        Raises
        ------
        OSError
            If the call is not permitted, or fails.
        """
        if number not in self._calls:
            raise PermissionError(errno.EACCES, "not for a worker")
        return self._calls[number](arguments)

    def _make_folder(self, directory: int, path_at: int, mode: int) -> int:
        parent, name = self._parent(self._path(directory, path_at))
        try:
            os.mkdir(name, mode & 0o777, dir_fd=parent)
        finally:
            os.close(parent)
        return 0

    def _rename(self, old_dir: int, old_at: int, new_dir: int, new_at: int, flags: int) -> int:
        if flags & 0xFFFFFFFF:
            raise PermissionError(errno.EACCES, "unusual way to rename")
        old_parent, old = self._parent(self._path(old_dir, old_at))
        try:
            new_parent, new = self._parent(self._path(new_dir, new_at))
            try:
                os.rename(old, new, src_dir_fd=old_parent, dst_dir_fd=new_parent)
            finally:
                os.close(new_parent)
        finally:
            os.close(old_parent)
        return 0

    def _remove(self, directory: int, path_at: int, flags: int) -> int:
        if flags & 0xFFFFFFFF:
            raise PermissionError(errno.EACCES, "folders stay")
        parent, name = self._parent(self._path(directory, path_at))
        try:
            os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)
        return 0

    def _path(self, directory: int, address: int) -> str:
        """Return the path, copied once from the worker's memory; relative paths start at the shared folder."""
        path = b""
        while b"\0" not in path:
            if len(path) >= _LONGEST_PATH:
                raise OSError(errno.ENAMETOOLONG, "path too long")
            # Read up to the page's end, because the next page may not exist.
            part = os.pread(self._memory, _PAGE - address % _PAGE, address)
            if not part:
                raise OSError(errno.EFAULT, "no path there")
            path += part
            address += len(part)
        text = os.fsdecode(path[: path.index(b"\0")])
        if not text:
            raise FileNotFoundError(errno.ENOENT, "empty path")
        if not text.startswith("/") and _signed(directory) != AT_FDCWD:
            raise PermissionError(errno.EACCES, "relative to a descriptor")
        return text

    def _parent(self, path: str) -> tuple[int, str]:
        """Return a descriptor of the writable folder, and the name in it."""
        folder, _, name = path.rstrip("/").rpartition("/")
        if name in ("", ".", ".."):
            raise PermissionError(errno.EACCES, "no name to write")
        start = "/" if path.startswith("/") else "."
        place = os.open(folder or start, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._require(place, self._write)
        except OSError:
            os.close(place)
            raise
        return place, name

    def _require(self, place: int, roots: Sequence[str]) -> None:
        kind = os.fstat(place).st_mode
        real = str(Path(f"/proc/self/fd/{place}").readlink())
        is_inside = any(real == root or real.startswith(root + "/") for root in roots)
        if not is_inside or not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISCHR(kind)):
            raise PermissionError(errno.EACCES, "outside")

    def _hand_over(self, listener: int, identity: int, descriptor: int, flags: int) -> None:
        """Pass the descriptor to the worker as the result of its call."""
        inherited = flags & os.O_CLOEXEC

        def add(how: int) -> int:
            described = bytearray(struct.pack("=QIIII", identity, how, descriptor, 0, inherited))
            return int(fcntl.ioctl(listener, _ADD_DESCRIPTOR, described))

        try:
            add(_AND_ANSWER)
        except OSError as error:
            if error.errno == errno.EINVAL:
                # Before Linux 5.14 the answer needs a second step.
                _reply(listener, identity, add(0), 0)
            elif error.errno != errno.ENOENT:
                _reply(listener, identity, 0, -(error.errno or errno.EMFILE))


def _reply(listener: int, identity: int, result: int, problem: int) -> None:
    try:
        fcntl.ioctl(listener, _ANSWER, bytearray(struct.pack("=QqiI", identity, result, problem, 0)))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise  # ENOENT: the caller was interrupted, and may ask again


def _is_gone(listener: int) -> bool:
    """Return whether the worker has ended."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - 2**32 if value >= 2**31 else value
