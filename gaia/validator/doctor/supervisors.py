"""Tells a Supervisor by its command line."""

from __future__ import annotations

import re

from gaia.validator.utils.entry_points import SUPERVISOR

_SUPERVISOR = re.compile(rf"\S+(?: -[XW] \S+| -[^-\smc]\S*)* -m {re.escape(SUPERVISOR)}(?: |$)")


def is_supervisor(command: str) -> bool:
    """Return whether a command line is that of a Supervisor.

    >>> is_supervisor("/usr/bin/python3 -X dev -m gaia.validator.app 3")
    True
    >>> is_supervisor("tail -f gaia.validator.app.log")
    False
    """
    return _SUPERVISOR.match(command) is not None
