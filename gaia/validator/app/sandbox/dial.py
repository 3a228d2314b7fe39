"""Connects a confined worker to the IO-Engine, although it can make no socket and choose no address."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections import deque
from typing import Final

from gaia.validator.app.sandbox.seccomp import PINNED_HIGH

SPARES: Final = 16
"""Number of reserved sockets; with the last one, the worker asks to be replaced."""

_PROT_READ, _PROT_WRITE = 1, 2
_PRIVATE_ANONYMOUS_NOREPLACE = 0x02 | 0x20 | 0x100000
_FAILED = ctypes.c_void_p(-1).value


class EngineDial:
    """Connects to one AF_UNIX address; `pin` prepares it for a process without socket(2).

    Parameters
    ----------
    path
        Address of the IO-Engine.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._spares: deque[socket.socket] | None = None
        self._address: tuple[int, int] | None = None

    @property
    def spares(self) -> int | None:
        """Number of further connections; None: unlimited."""
        return None if self._spares is None else len(self._spares)

    def pin(self) -> tuple[int, int]:
        """Copy the address to read-only memory, and reserve sockets.

        Returns
        -------
        tuple[int, int]
            Its address in memory, and its length. A filter can compare these, because it sees the
            pointer given to connect(2) but not the memory. The page is read-only, and the filter
            refuses every call that could remap it.

        Raises
        ------
        OSError
            If the memory cannot be mapped.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        wanted, size = PINNED_HIGH << 32, os.sysconf("SC_PAGESIZE")
        page = libc.mmap(wanted, size, _PROT_READ | _PROT_WRITE, _PRIVATE_ANONYMOUS_NOREPLACE, -1, 0)
        if page != wanted:
            problem = ctypes.get_errno() if page == _FAILED else 0
            raise OSError(problem, "no memory at the pinned address")
        content = struct.pack("=H", socket.AF_UNIX) + os.fsencode(self._path) + b"\0"
        ctypes.memmove(page, content, len(content))
        if libc.mprotect(page, size, _PROT_READ) != 0:
            raise OSError(ctypes.get_errno(), "the pinned address stays writable")
        self._spares = deque(socket.socket(socket.AF_UNIX) for _ in range(SPARES))
        self._address = (wanted, len(content))
        return self._address

    def dial(self) -> socket.socket:
        """Return a new connection.

        Raises
        ------
        OSError
            If the engine does not listen, or no socket is left.
        """
        if self._spares is None or self._address is None:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self._path)
            except OSError:
                connection.close()
                raise
            return connection
        if not self._spares:
            raise OSError("no socket is left")
        libc = ctypes.CDLL(None, use_errno=True)
        libc.connect.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint]
        if libc.connect(self._spares[0].fileno(), *self._address) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return self._spares.popleft()

    def close(self) -> None:
        """Close the unused sockets, and unmap the address if that is still permitted."""
        for spare in self._spares or ():
            spare.close()
        if self._address is not None:
            libc = ctypes.CDLL(None)
            libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
            libc.munmap(self._address[0], os.sysconf("SC_PAGESIZE"))
            self._address = None
