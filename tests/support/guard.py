"""What a test may not do to the process it runs in: signal it to death, or leave it other than it was."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_MASTERED = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_LIMITS = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))


@dataclass(frozen=True)
class ProcessState:
    """What belongs to the whole process, and so to every test after this one."""

    handlers: Mapping[int, Any]
    blocked: frozenset[int]
    timer: bool
    folder: str
    umask: int
    limits: Mapping[str, tuple[int, int]]
    policy: Any
    streams: tuple[bool, ...]

    @classmethod
    def now(cls) -> ProcessState:
        """Return how the process is."""
        return cls(
            handlers={number: signal.getsignal(number) for number in _MASTERED},
            blocked=frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            timer=signal.getitimer(signal.ITIMER_REAL)[0] > 0,
            folder=_folder(),
            umask=_umask(),
            limits={name: resource.getrlimit(getattr(resource, name)) for name in _LIMITS},
            policy=_policy(),
            streams=tuple(map(_is_open, range(3))),
        )

    def changes(self, before: ProcessState) -> list[str]:
        """Return a sentence for each thing that is not as it was."""
        return [*self._changed_signals(before), *self._changed_surroundings(before)]

    def _changed_signals(self, before: ProcessState) -> Iterator[str]:
        for number, handler in self.handlers.items():
            if handler != before.handlers[number]:
                yield f"the handler of {_name(number)} is {handler}, and was {before.handlers[number]}"
        if self.blocked != before.blocked:
            yield f"blocked signals are {_names(self.blocked)}, and were {_names(before.blocked)}"
        if self.timer and not before.timer:
            yield "an alarm is set"

    def _changed_surroundings(self, before: ProcessState) -> Iterator[str]:
        for name in ("folder", "umask", "policy"):
            if getattr(self, name) != getattr(before, name):
                yield f"the {name} is {getattr(self, name)}, and was {getattr(before, name)}"
        for name in _LIMITS:
            if self.limits[name] != before.limits[name]:
                yield f"{name} is {self.limits[name]}, and was {before.limits[name]}"
        for number in range(3):
            if self.streams[number] != before.streams[number]:
                yield f"descriptor {number} is {'open' if self.streams[number] else 'closed'}"

    def restore(self) -> None:
        """Make the process as it was then, as far as that can be done."""
        for number, handler in self.handlers.items():
            # None: set by other than Python, and not to be had again.
            if handler is not None and handler != signal.getsignal(number):
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)
        if not self.timer:
            signal.setitimer(signal.ITIMER_REAL, 0)
        os.chdir(self.folder)
        os.umask(self.umask)
        for name, limit in self.limits.items():
            resource.setrlimit(getattr(resource, name), limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.set_event_loop_policy(self.policy)


class SuicideRefused(AssertionError):
    """A test was about to signal its own process, or the whole group, with nobody to handle it."""


@contextmanager
def no_suicide() -> Iterator[None]:
    """Refuse signals to this process and its group that nothing handles: they would end the run without a word.

    Processes that are forked from this one may do as they like.
    """
    real_kill, real_killpg, real_raise = os.kill, os.killpg, signal.raise_signal
    ourselves = os.getpid()

    def check(number: int, target: str) -> None:
        if os.getpid() == ourselves and number and not _is_handled(number):
            raise SuicideRefused(
                f"{_name(number)} to {target} would end the test run: nothing handles it now; let a process of its own do that"
            )

    def kill(pid: int, number: int) -> None:
        if pid in (0, -1, os.getpid(), -os.getpgrp()):
            check(number, "ourselves")
        real_kill(pid, number)

    def killpg(group: int, number: int) -> None:
        if group in (0, os.getpgrp()):
            check(number, "our group")
        real_killpg(group, number)

    def raise_signal(number: int) -> None:
        check(number, "ourselves")
        real_raise(number)

    replaced: list[tuple[Any, str, Callable[..., None]]] = [
        (os, "kill", kill),
        (os, "killpg", killpg),
        (signal, "raise_signal", raise_signal),
    ]
    for module, name, function in replaced:
        setattr(module, name, function)
    try:
        yield
    finally:
        os.kill, os.killpg, signal.raise_signal = real_kill, real_killpg, real_raise


def _is_handled(number: int) -> bool:
    if number in (signal.SIGKILL, signal.SIGSTOP):
        return False
    handler = signal.getsignal(number)
    # Python's own handler of Ctrl-C ends the run as well, with a KeyboardInterrupt.
    return handler is signal.SIG_IGN or (callable(handler) and handler is not signal.default_int_handler)


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "gone"


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _policy() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return asyncio.get_event_loop_policy()


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _names(numbers: frozenset[int]) -> str:
    return ", ".join(map(_name, sorted(numbers))) or "none"
