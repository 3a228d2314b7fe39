"""Handlers of which the first worker that loads them is stopped, before it has connected."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.handlers import resolve

__all__ = ["READS", "VARIABLE", "WRITES", "resolve"]

READS = ()
WRITES = ()
VARIABLE = "STOPPED_ONCE"
"""Names the file that the stopped worker writes its pid into, unless another did."""

if sign := os.environ.get(VARIABLE):
    try:
        with Path(sign).open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        pass
    else:
        os.kill(os.getpid(), signal.SIGSTOP)
