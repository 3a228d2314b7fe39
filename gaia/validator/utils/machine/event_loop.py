"""The event loop of this process: threads give way to it, and nothing that hangs keeps the process from ending."""

from __future__ import annotations

import gc
import logging
import os
import sys

import structlog

from gaia.validator.utils.errors import ExitCode

log = structlog.get_logger(__name__)
_SWITCH_S = 0.0002
"""Seconds that a thread computes while the loop waits; the default of 5 ms is longer than most turns of the loop."""


def favour_loop() -> None:
    """Let threads that compute, such as those that make pages, give way to the event loop sooner than usual.

    What is loaded by now stays, so the garbage collector, which gives way to nobody, need not visit it.
    """
    sys.setswitchinterval(_SWITCH_S)
    gc.freeze()


def end_despite(jobs: list[str]) -> None:
    """End this process at once if `jobs` is not empty; the loop would wait for them without end."""
    if jobs:
        log.warning("jobs_left_behind", jobs=jobs)
        logging.shutdown()
        os._exit(ExitCode.OK)
