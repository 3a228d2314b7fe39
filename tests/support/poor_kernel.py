"""Makes this process and its children see a kernel that lacks some system calls."""

from __future__ import annotations

import ctypes
import platform
import struct
from collections.abc import Sequence

from gaia.validator.app.sandbox.seccomp import ABSENT, ALLOW, install
from gaia.validator.app.sandbox.syscalls import numbers_of

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NO_NEW_PRIVS = 38


def lack(names: Sequence[str]) -> None:
    """Answer ENOSYS to the calls of these names from now on."""
    if not names:
        return
    numbers = numbers_of(platform.machine())
    program = [(_LOAD, 0, 0, 0)]
    for name in names:
        program += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, ABSENT)]
    program.append((_RETURN, 0, 0, ALLOW))
    ctypes.CDLL(None).prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    install(b"".join(struct.pack("HBBI", *each) for each in program), flags=0)
