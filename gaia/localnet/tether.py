"""Runs a command that dies with the process that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import NoReturn

from gaia.validator.utils.entry_points import LOCALNET_TETHER

_PR_SET_PDEATHSIG = 1


def command(*arguments: str) -> list[str]:
    """Return the command line that runs `arguments` and dies with this process.

    The kernel sends SIGKILL when the thread that started it ends. Start it therefore from a
    thread that lives as long as the process.
    """
    return [sys.executable, "-m", LOCALNET_TETHER, str(os.getpid()), *arguments]


def main(arguments: list[str]) -> NoReturn:
    """Ask the kernel to end this process with its parent, then run the command; exit 1 if it is gone."""
    parent = int(arguments[0])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the request.
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(arguments[1], arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
