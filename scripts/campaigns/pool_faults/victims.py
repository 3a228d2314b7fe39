"""Processes of a campaign, from /proc: targets, survivors and the resources of each."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from gaia.validator.app.meeting.rendezvous import Board

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the subreaper of all descendants, so that none can be overlooked."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def fork_server_of(supervisor: int) -> int | None:
    """Return the pid of the Supervisor's fork server; None if there is none."""
    return next((pid for pid in children(supervisor) if "forkserver" in command_line(pid)), None)


def standby_of(supervisor: int, board: Board) -> int | None:
    """Return the pid of the standby engine; None if there is none."""
    known = {*board.processes.values(), *board.workers.values()}
    spawned = [pid for pid in children(supervisor) if pid not in known and "spawn_main" in command_line(pid)]
    return spawned[0] if spawned else None


def connected_workers(engine: int | None) -> set[int]:
    """Return the pids of the workers that are connected to the engine, which holds a pidfd of each."""
    found = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        for link in Path(f"/proc/{engine}/fdinfo").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it has closed this one
                pairs = [line.partition(":") for line in link.read_text().splitlines()]
                found |= {int(value) for key, _, value in pairs if key == "Pid"}
    return found


def children(pid: int) -> list[int]:
    """Return the pids of the children of `pid`, including zombies."""
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


def command_line(pid: int) -> str:
    """Return the command line of a process; "" if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def strike(pid: int, number: signal.Signals, parents: set[int]) -> bool:
    """Send the signal, if the process is still a child of one of `parents`."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if psutil.Process(pid).ppid() not in parents or is_dead(pid):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
    finally:
        os.close(descriptor)
    return True


def is_dead(pid: int) -> bool:
    """Return whether the process has ended or is a zombie."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def collect_all(patience_s: float) -> list[str]:
    """Reap all our children; kill and return those that do not end."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return []
        if pid == 0:
            time.sleep(0.002)
    left = psutil.Process().children(recursive=True)
    found = [f"{process.pid} {process.status()} {command_line(process.pid)[:100]}" for process in left]
    for process in left:
        process.kill()
    return found


def reap_orphans(own_child: int) -> None:
    """Reap dead adopted processes, but not `own_child`, which its Popen reaps."""
    for pid in children(os.getpid()):
        if pid != own_child:
            os.waitpid(pid, os.WNOHANG)


def holdings(pid: int) -> dict[str, int]:
    """Return the resources of a process: descriptors by kind, threads, zombies."""
    process = psutil.Process(pid)
    zombies = [child for child in process.children() if child.status() == psutil.STATUS_ZOMBIE]
    kinds = Counter(f"fd {kind}" for link in Path(f"/proc/{pid}/fd").iterdir() if (kind := kind_of(link)))
    return {**kinds, "threads": process.num_threads(), "zombies": len(zombies)}


def kind_of(link: Path) -> str:
    """Return the kind of a descriptor in /proc, such as "socket", or its file name; "" if it is closed."""
    try:
        target = str(link.readlink())
    except FileNotFoundError:
        return ""  # such as the one that listed them
    kind, _, rest = target.partition(":")
    if not rest:
        name = Path(target).name
        return "stacks" if name.isdigit() else name  # the file of stacks bears the number of its process
    return rest.strip("[]") if kind == "anon_inode" else kind
