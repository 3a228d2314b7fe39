"""Runs a command that does not outlive the process that asked for it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import NoReturn

from gaia.validator.utils.entry_points import LOCALNET_TETHER

_PR_SET_PDEATHSIG = 1


def command(*arguments: str) -> list[str]:
    """Return the command line that runs `arguments` tethered to this process.

    The kernel sends SIGKILL when the thread that started it ends, so start it
    from one that lives as long as the process.
    """
    return [sys.executable, "-m", LOCALNET_TETHER, str(os.getpid()), *arguments]


def main(arguments: list[str]) -> NoReturn:
    """Tie ourselves to the parent, then become the command; exit code 1 if the parent is gone."""
    parent = int(arguments[0])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # It may have died before the tie was made.
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(arguments[1], arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
