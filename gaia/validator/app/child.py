"""Start of every child process: bound to its parent's life, it reports ready, and ends with a sentence."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from gaia.validator.utils.errors import ConfigurationError, ExitCode
from gaia.validator.utils.machine.parent_death import die_with_parent
from gaia.validator.utils.secrecy import without_secrets

READY, STARTED, LAST_WORDS = b"r", b"s", b"!"
"""Notes to the Supervisor: about to run; fully at work; the rest is the sentence for the operator."""

_LONGEST_SENTENCE = 4000
LOADED_BY = os.getpid()
"""Pid of the process that loaded this module: the fork server, in the workers that it forks."""
_notes: Connection | None = None


def boot(
    target: str,
    parent_pid: int | None,
    ready: Connection | None,
    settings: bytes,
    arguments: tuple[Any, ...],
    go: Connection | None = None,
) -> None:
    """Run `target` in the new process.

    Parameters
    ----------
    target
        "module:function", imported only in this process.
    parent_pid
        Process whose death ends this one; None: the fork server.
    ready
        Gets the notes of this process: `READY` once the target is imported and about to run, and what
        it passes to `tell`. None: the target sends its own notes.
    settings
        Pickled settings, the first argument of the target; empty: it takes none.
    arguments
        The other arguments of the target.
    go
        After the import, wait here for a byte; if it is closed instead, this process is not
        needed. None: run at once.
    """
    die_with_parent(parent_pid if parent_pid is not None else LOADED_BY)
    # Ctrl-C reaches the whole process group; only the Supervisor acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # It means new settings; a target that can reload them sets its own handler later.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    global _notes
    _notes = ready
    try:
        function = resolve(target)
        if settings:
            arguments = (pickle.loads(settings), *arguments)  # noqa: S301 - written by the Supervisor
        if go is not None:
            with go:
                if not os.read(go.fileno(), 1):
                    return
        tell(READY)
        function(*arguments)
    except ConfigurationError as error:
        # The Supervisor says the sentence after its last log line; without one, it is said here.
        if not tell(LAST_WORDS + str(error).encode()[:_LONGEST_SENTENCE]):
            print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001 - multiprocessing would print it with the secrets that its text may hold
        print(without_secrets(traceback.format_exc()), file=sys.stderr, end="", flush=True)
        sys.exit(ExitCode.CRASH)


def tell(note: bytes) -> bool:
    """Send a note to the Supervisor; return False if there is none to send it to."""
    if _notes is None:
        return False
    try:
        os.write(_notes.fileno(), note)
    except OSError:
        return False  # the Supervisor has ended
    return True


def resolve(target: str) -> Callable[..., Any]:
    """Import "module:function"."""
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function
