"""Finds out whether a child is stopped, its loop has ceased to turn, or it answers nobody."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from gaia.validator.app.children.embedded_postgres import server_socket
from gaia.validator.app.children.postgres_ping import PostgresPing
from gaia.validator.app.logging_config import event
from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.heartbeat import last_beat
from gaia.validator.app.supervision import Child, Role
from gaia.validator.utils.machine.process_state import is_stopped

_log = logging.getLogger("application")
_NOTICED_S: Final = 10.0
"""Seconds without an answer of the database that are worth a line, long before it is replaced."""


class Silence:
    """Looks for signs of life of IO-Engine, signer and database.

    Parameters
    ----------
    data_dir
        Folder of the validator.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._ping: PostgresPing | None = None
        self._pinged_pid = 0
        self._is_noticed = False

    def is_silent(self, child: Child, patience_s: float) -> bool:
        """Return whether a child is stopped, or has shown no life for `patience_s`; it never waits."""
        if child.role is Role.DATABASE:
            return self._is_database_silent(child, patience_s)
        if is_stopped(child.pid):
            return True
        path = rendezvous.heartbeat_path(self._data_dir)
        if child.role is Role.SIGNER:
            path = rendezvous.signer_heartbeat_path(rendezvous.signer_socket_path(self._data_dir))
        beat = last_beat(path, child.pid)
        return beat is not None and time.monotonic() - beat > patience_s

    def close(self) -> None:
        """Close the connections to the database."""
        if self._ping is not None:
            self._ping.close()
            self._ping = None

    def _is_database_silent(self, child: Child, patience_s: float) -> bool:
        """Return whether the database is stopped, or answers nobody once it is ready.

        A stop has a time limit of its own, and during its last checkpoint a server answers nobody.
        """
        if child.kill_at is not None:
            return False
        if not child.is_ready:
            return is_stopped(child.pid)
        if self._ping is None or self._pinged_pid != child.pid:
            self.close()
            self._ping, self._pinged_pid = PostgresPing(server_socket(self._data_dir)), child.pid
        now = time.monotonic()
        self._ping.look(now)
        unanswered_s = self._ping.unanswered_s(now)
        self._notice(child.pid, unanswered_s)
        return is_stopped(child.pid) or unanswered_s > patience_s

    def _notice(self, pid: int, unanswered_s: float) -> None:
        """Log the beginning of a silence once."""
        if unanswered_s > _NOTICED_S and not self._is_noticed:
            event(_log, "postgres_silent", logging.WARNING, pid=pid, silent_s=round(unanswered_s, 1))
        self._is_noticed = unanswered_s > _NOTICED_S
