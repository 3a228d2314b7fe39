"""Limits of a compute worker for CPU time and memory, and its last stack for the death report."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import resource
import signal
import time
from enum import Enum

_MIB = 1024 * 1024
_PAGE = os.sysconf("SC_PAGESIZE")
_EARLY_S = 0.2
_LONGEST_ALARM_S = 7 * 86_400.0
_NEAR_S = 1.0
_LOOK_AFTER_S = 0.001
_LOOK_EVERY = 64
_GROWN_BYTES = 16 * _MIB
_LARGE_BYTES = 64 * _MIB


class Note(Enum):
    """Note of a worker to the Supervisor, in one byte."""

    CONNECTED = b"c"
    ADMITTED = b"a"
    """An engine has admitted it, and can assign units to it."""
    MAX_JOBS = b"j"
    IDLE = b"i"
    MEMORY = b"m"
    """The engine asks for a replacement, because memory is short."""
    SPENT = b"s"
    """It has no socket left for another connection."""


class WorkerGuard:
    """Limits of this process; made in the main thread, before the sandbox is entered.

    A kernel alarm enforces the deadline of a unit. Its handler is C and needs neither the
    interpreter nor a thread. It writes the Python stack and lets the alarm end the process, even in
    native code. It comes a little before the engine's kill, which would leave no stack.

    Parameters
    ----------
    memory_mib
        MiB beyond which a unit gets a `MemoryError`; mapped files do not count; 0: no limit.
    stack_path
        File for the stack; "": no stack and no alarm.
    """

    def __init__(self, memory_mib: int = 0, stack_path: str = "") -> None:
        self._limit_bytes = memory_mib * _MIB
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._alarm_at = 0.0
        self._units = 0
        self._data_bytes = 0
        self._has_alarm = bool(stack_path)
        if stack_path:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._stack = os.open(stack_path, flags, 0o600)
            faulthandler.enable(self._stack)
            faulthandler.register(signal.SIGALRM, self._stack, all_threads=True, chain=True)
        if memory_mib:
            self._set_limit(self._look()[0])
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def arm(self, deadline_at: float) -> None:
        """Begin a unit that must end by `deadline_at`, in Unix seconds."""
        if not self._has_alarm:
            return
        left_s = deadline_at - time.time()
        # A very short unit loses a tenth of its time instead.
        alarm_s = max(left_s - _EARLY_S, left_s * 0.9, 0.001)
        if alarm_s >= _LONGEST_ALARM_S:
            self.rest()
            return
        signal.setitimer(signal.ITIMER_REAL, alarm_s)
        self._alarm_at = time.monotonic() + alarm_s

    def disarm(self) -> None:
        """End a unit; a distant alarm stays set until the next unit or `rest` changes it."""
        if self._alarm_at and self._alarm_at - time.monotonic() < _NEAR_S:
            self.rest()

    def rest(self) -> None:
        """Cancel the alarm, because no other unit has arrived."""
        if self._alarm_at:
            self._alarm_at = 0.0
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    @property
    def is_armed(self) -> bool:
        """Whether an alarm is set, possibly that of an ended unit."""
        return self._alarm_at > 0.0

    def tidy(self, wall_s: float) -> None:
        """Free memory between units, and adjust the limit to the start of the next unit.

        It acts only after a long unit or after many short ones, because each check takes
        microseconds.
        """
        self._units += 1
        if wall_s < _LOOK_AFTER_S and self._units % _LOOK_EVERY:
            return
        data_bytes, private_bytes = self._look()
        if data_bytes < self._data_bytes + _GROWN_BYTES:
            return
        if private_bytes > _LARGE_BYTES:
            self.rest()
            gc.collect()
            if self._trim is not None:
                self._trim(ctypes.c_size_t(0))
            data_bytes, _ = self._look()
        self._set_limit(data_bytes)

    def _look(self) -> tuple[int, int]:
        """Return the memory that counts for the limit, and the private memory, in bytes."""
        _, resident, shared, _, _, data, _ = map(int, os.pread(self._statm, 256, 0).split())
        return data * _PAGE, (resident - shared) * _PAGE

    def _set_limit(self, data_bytes: int) -> None:
        self._data_bytes = data_bytes
        if self._limit_bytes:
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            try:
                resource.setrlimit(resource.RLIMIT_DATA, (data_bytes + self._limit_bytes, hard))
            except (PermissionError, ValueError):
                return  # a sandbox forbids raising a limit, so that of the first unit stays
