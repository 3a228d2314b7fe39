"""What every child process does first: die with its parent, say it is up, end in a sentence."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from gaia.validator.utils.errors import ConfigurationError

_PR_SET_PDEATHSIG = 1
_LOADED_BY = os.getpid()
"""The fork server, in the workers that it forks."""


def boot(
    target: str,
    parent_pid: int | None,
    ready: Connection | None,
    settings: bytes,
    arguments: tuple[Any, ...],
    go: Connection | None = None,
) -> None:
    """Become the child that `target` describes; runs in the new process.

    Parameters
    ----------
    target
        "module:function", imported only here.
    parent_pid
        Process whose death we do not outlive; None: the fork server.
    ready
        Closed once the target is imported and about to run, after one byte; None: the
        target says itself when it is ready.
    settings
        Pickled settings, the target's first argument; empty: it takes none.
    arguments
        The target's other arguments.
    go
        Once the target is imported, wait here for a byte; where it is closed instead, we are
        not needed. None: go at once.
    """
    die_with_parent(parent_pid if parent_pid is not None else _LOADED_BY)
    # Ctrl-C reaches the whole process group; only the Supervisor acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # It means new settings; whoever can take them over later says so.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        function = resolve(target)
        if settings:
            arguments = (pickle.loads(settings), *arguments)  # noqa: S301 - written by the Supervisor
        if go is not None:
            with go:
                if not os.read(go.fileno(), 1):
                    return
        if ready is not None:
            os.write(ready.fileno(), b"r")
            ready.close()
        function(*arguments)
    except ConfigurationError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


def resolve(target: str) -> Callable[..., Any]:
    """Import "module:function"."""
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def die_with_parent(parent_pid: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send us `with_signal` when our parent dies (Linux).

    The parent must be the main thread of its process: the kernel means the thread.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(with_signal))
    if os.getppid() != parent_pid:
        os._exit(1)  # it died before the kernel knew our wish
