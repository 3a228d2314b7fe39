"""Finds out whether a child is stopped, or its loop has ceased to turn."""

from __future__ import annotations

import time
from pathlib import Path

from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.heartbeat import last_beat
from gaia.validator.app.supervision import Child, Role
from gaia.validator.utils.machine.process_state import is_stopped


def is_silent(child: Child, data_dir: Path, patience_s: float) -> bool:
    """Return whether an IO-Engine or a signer is stopped, or has not beaten for `patience_s`."""
    if is_stopped(child.pid):
        return True
    path = rendezvous.heartbeat_path(data_dir)
    if child.role is Role.SIGNER:
        path = rendezvous.signer_heartbeat_path(rendezvous.signer_socket_path(data_dir))
    beat = last_beat(path, child.pid)
    return beat is not None and time.monotonic() - beat > patience_s
