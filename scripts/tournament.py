#!/usr/bin/env python3
"""Plays the tournament of the rules; makes its own environment first; standard library only."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import bootstrap


def main(arguments: Sequence[str]) -> None:
    """Replace this process by the tournament."""
    python = bootstrap.ensure_environment()
    # One process per processor shares the work, so more threads would only slow them down.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(bootstrap.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    sys.stdout.flush()
    os.execve(python, [str(python), "-m", "gaia.localnet.tournament", *arguments], environment)


if __name__ == "__main__":
    main(sys.argv[1:])
