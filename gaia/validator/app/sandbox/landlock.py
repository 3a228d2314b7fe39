"""Landlock: restricts this process to files below given folders."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from gaia.validator.app.sandbox.syscalls import numbers_of

_ALL_RIGHTS: Final = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
"""Version -> file rights that it knows; the newest entry also holds for later versions."""
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE = 0x1, 0x2, 0x4, 0x8, 0x20
_MAKE_DIR, _MAKE_REG, _REFER, _TRUNCATE = 0x80, 0x100, 0x2000, 0x4000

_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE

_TCP_FROM, _TCP = 4, 0x3
"""Rights since version 4: bind and connect of TCP."""
_SCOPES_FROM, _SCOPES = 6, 0x3
"""Scopes since version 6: abstract UNIX sockets and signals."""
_VERSION_FLAG, _RULE_PATH_BENEATH = 1, 1


def abi_version() -> int:
    """Return the version of Landlock of this kernel; 0: none."""
    try:
        return max(0, _call("landlock_create_ruleset", None, 0, _VERSION_FLAG))
    except (OSError, KeyError):
        return 0


def restrict(version: int, read: Iterable[str], write: Iterable[str]) -> None:
    """Restrict this process for good to files below `read` and `write`.

    It applies to the calling thread, which must be the only one, and to its children. They can
    run no program, and make no file system objects except files and folders.

    Parameters
    ----------
    version
        Version from `abi_version`.
    read
        Readable files and folders; those that we cannot open anyway are skipped.
    write
        Folders in which files and folders may be made, written and renamed, and files removed.

    Raises
    ------
    OSError
        If the kernel refuses.
    """
    handled = _ALL_RIGHTS[min(version, max(_ALL_RIGHTS))]
    tcp = _TCP if version >= _TCP_FROM else 0
    scopes = _SCOPES if version >= _SCOPES_FROM else 0
    # An older kernel expects a shorter structure.
    size = 24 if scopes else 16 if tcp else 8
    described = struct.pack("QQQ", handled, tcp, scopes)[:size]
    ruleset = _call("landlock_create_ruleset", described, size, 0)
    try:
        for path in read:
            _allow(ruleset, path, _READ & handled)
        for path in write:
            _allow(ruleset, path, _WRITE & handled)
        _call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    with suppress(FileNotFoundError, PermissionError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                rights &= _OF_A_FILE
            rule = struct.pack("=Qi", rights, descriptor)
            _call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, rule, 0)
        finally:
            os.close(descriptor)


def _call(name: str, *arguments: bytes | int | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = libc.syscall(ctypes.c_long(numbers_of(os.uname().machine)[name]), *given)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return int(result)
