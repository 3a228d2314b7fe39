"""Finds the cause of a child's death from its exit code, notes and last stack."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.lease_book import last_held
from gaia.validator.app.meeting.rendezvous import DeathReport
from gaia.validator.app.meeting.stack_dumps import dump_path
from gaia.validator.app.supervision import FORK_SERVER_DIED, Role
from gaia.validator.utils.identities import JobId

if TYPE_CHECKING:
    from gaia.validator.app.children.spawning import ChildHandle

_LONGEST_STACK = 4000
_BY_REASON = {
    "private memory above the hard limit": "memory",
    "did not stop in time": "drain",
    "not ready in time": "startup",
    "silent": "silent",
}


def examine(seated: ChildHandle, exit_code: int, lived_s: float, data_dir: Path) -> DeathReport:
    """Return the death report of a child that was just reaped; read and remove the file of its last stack."""
    facts, worker = seated.child, seated.worker
    dump_path(rendezvous.run_directory(data_dir), facts.pid).unlink(missing_ok=True)
    cause = cause_of(facts.role, exit_code, seated.kill_reason, was_ready=facts.is_ready)
    return DeathReport(
        role=str(facts.role),
        worker=worker,
        pid=facts.pid,
        exit_code=exit_code,
        cause=cause,
        blames_unit=exit_code != FORK_SERVER_DIED,
        at=time.time(),
        lived_s=round(lived_s, 3),
        private_mib=round(facts.private_mib, 1) or None,
        unit=last_held(rendezvous.lease_book_path(data_dir), worker) if worker and exit_code else JobId(""),
        stack=_take_stack(rendezvous.stack_path(data_dir, worker)) if worker else "",
    )


def cause_of(role: Role, exit_code: int, kill_reason: str, *, was_ready: bool) -> str:
    """Return the cause of a death in a few words.

    Parameters
    ----------
    kill_reason
        Reason for which the Supervisor stopped or killed it; "" if it did not.
    """
    if kill_reason in _BY_REASON:
        return _BY_REASON[kill_reason]
    if exit_code == FORK_SERVER_DIED:
        return "its fork server died"
    if role is Role.WORKER and exit_code == -signal.SIGALRM:
        return "deadline"
    if exit_code < 0:
        try:
            return f"signal {-exit_code} ({signal.Signals(-exit_code).name})"
        except ValueError:
            return f"signal {-exit_code}"
    return f"exit {exit_code}" if was_ready else f"startup, exit {exit_code}"


def _take_stack(path: Path) -> str:
    """Return the end of the Python stack that the worker left, safe for logs; remove the file."""
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_STACK).decode(errors="replace")
        path.unlink()
    except FileNotFoundError:
        return ""
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n").strip()
