"""What a diagnosis looks at: metrics, processes, database, data folder and settings."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import psutil

from gaia.cli.runbooks.disk_use import DiskUse
from gaia.cli.status.samples import Samples
from gaia.cli.status.scrape import scrape
from gaia.validator.app.meeting.engine_note import read_engine_note
from gaia.validator.app.meeting.heartbeat import last_beat
from gaia.validator.app.meeting.rendezvous import (
    Board,
    DeathReport,
    board_path,
    heartbeat_path,
    read_board,
)
from gaia.validator.app.startup.published import published_settings
from gaia.validator.db import history
from gaia.validator.db.history import RunSummary
from gaia.validator.db.rows import (
    AwaitedRow,
    BlockedRow,
    IncidentRow,
    LeaseRow,
    VectorInDoubt,
    VectorRow,
)
from gaia.validator.db.server import sessions
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.config import Settings, variable_of
from gaia.validator.utils.errors import GaiaError

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.db.connection import Connection

Answer = TypeVar("Answer")

ENGINE, SIGNER, WORKER, POSTGRES = "io_engine", "chain_signer", "compute_worker", "postgres"
SUPERVISOR = "supervisor"
_RECENT_S = 3600.0
_CPU_LOOK_S = 1.0
_CLOCK_SLACK_S = 1.0
_PATIENCE_S = 5.0
"""Seconds that the database may take to answer; the alert may be about just that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What the database says."""

    runs: Sequence[RunSummary]
    newest_vector: VectorRow | None
    doubts: Sequence[VectorInDoubt]
    incidents: Sequence[IncidentRow]
    awaited: Sequence[AwaitedRow]
    lease: LeaseRow | None
    """The lease of the database; None: the database knows none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about a validator at one moment."""

    data_dir: Path
    settings: Settings
    """Settings of the validator; of a rehearsal, as far as it published them."""
    knows_secrets: bool
    """Whether the settings have their secrets, which are never published."""
    endpoint: str
    """Address of the metrics; empty: none is known."""
    samples: Samples | None
    """None: the endpoint does not answer."""
    endpoint_error: str
    board: Board
    processes: Mapping[int, psutil.Process]
    """Living processes of the board."""
    heartbeat_age_s: float | None
    """Time since the IO-Engine's last heartbeat; None if it lives not, or never beat."""
    silence_s: float
    """Silence after which the Supervisor replaces the IO-Engine, as the running validator has it."""
    cpu: Mapping[int, float]
    """Pid -> cores in use during one second."""
    blocked: Sequence[BlockedRow]
    """Sessions that wait for a lock. They are read first, because a locked table cannot be read."""
    rows: Rows | None
    database_error: str
    """Why the database does not answer; empty if it does, even if a table is locked."""
    rows_error: str
    """Why the database answers, but its tables cannot be read."""
    metagraph: Metagraph | None
    """The subnet as the IO-Engine last saw it; None if it never did."""
    disk: DiskUse

    @property
    def now(self) -> datetime:
        """The time of the validator's calendar, which a rehearsal simulates."""
        told = self.samples.value("gaia_clock_timestamp_seconds") if self.samples else None
        return datetime.fromtimestamp(told or time.time(), UTC)

    def pids(self, role: str) -> list[int]:
        """Return the living processes of a role."""
        if role == WORKER:
            return [pid for pid in self.board.workers.values() if pid in self.processes]
        return [pid for name, pid in self.board.processes.items() if name == role and pid in self.processes]

    def roles(self) -> dict[int, str]:
        """Return pid -> role of each living process; a worker has its name too."""
        names = {pid: role for role, pid in self.board.processes.items()}
        names |= {pid: f"{WORKER} {name}" for name, pid in self.board.workers.items()}
        return {pid: name for pid, name in names.items() if pid in self.processes}

    def deaths(self) -> list[DeathReport]:
        """Return the unplanned deaths of the last hour, newest first."""
        return [death for death in reversed(self.board.deaths) if time.time() - death.at < _RECENT_S]

    def memory(self) -> dict[str, int]:
        """Return name of a process -> resident bytes with those of its children, largest first.

        The Supervisor counts alone, because all others are its children.
        """
        sizes = {
            name: _resident(self.processes[pid], is_alone=name == SUPERVISOR)
            for pid, name in self.roles().items()
        }
        return dict(sorted(sizes.items(), key=lambda entry: -entry[1]))

    def total(self, name: str, **labels: str) -> float | None:
        """Return the sum of a metric; None if it is not known."""
        return self.samples.value(name, **labels) if self.samples else None

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return value of `label` -> sum of a metric, where that is not 0, largest first."""
        found = self.samples.by(name, label, **labels) if self.samples else {}
        return {key: value for key, value in found.items() if value}


def gather(source: Source, endpoint: str, *, knows_secrets: bool, database_error: str = "") -> Facts:
    """Look at everything once; what cannot be read is a fact too.

    Parameters
    ----------
    database_error
        Why the database could not be opened; empty if it was.
    """
    answer: Samples | str = scrape(endpoint) if endpoint else ""
    board_file = board_path(source.data_dir)
    published = read_board(board_file)
    children = _living(published, board_file)
    board, processes = _with_parent(published, children)
    cpu = _cores(processes)
    blocked, error = (None, database_error) if database_error else _read(source, sessions.blocked)
    rows, rows_error = (None, "") if error else _read(source, _rows)
    engine = board.processes.get(ENGINE)
    note = read_engine_note(source.data_dir)
    return Facts(
        data_dir=source.data_dir,
        settings=source.settings,
        knows_secrets=knows_secrets,
        endpoint=endpoint,
        samples=answer if isinstance(answer, Samples) else None,
        endpoint_error=answer if isinstance(answer, str) else "",
        board=board,
        processes=processes,
        heartbeat_age_s=_silence(source.data_dir, engine) if engine in processes else None,
        silence_s=_allowed_silence(source),
        cpu=cpu,
        blocked=blocked or (),
        rows=rows,
        database_error=error,
        rows_error=rows_error,
        metagraph=note.metagraph if note is not None else None,
        disk=DiskUse(source.data_dir),
    )


async def _rows(connection: Connection) -> Rows:
    return Rows(
        runs=await history.run_summaries(connection),
        newest_vector=await history.newest_vector(connection),
        doubts=await history.vectors_in_doubt(connection),
        incidents=await history.incidents(connection),
        awaited=await history.awaited(connection),
        lease=await history.lease(connection),
    )


def _read(source: Source, query: Callable[[Connection], Awaitable[Answer]]) -> tuple[Answer | None, str]:
    """Return what `query` reads, or None and the reason why it cannot."""
    try:
        return source.read(query, _PATIENCE_S), ""
    except GaiaError as error:
        return None, str(error) or type(error).__name__


def _living(board: Board, board_file: Path) -> dict[int, psutil.Process]:
    """Return the processes of the board that live; a younger process has a pid anew and is another."""
    found: dict[int, psutil.Process] = {}
    for pid in (*board.processes.values(), *board.workers.values()):
        with suppress(psutil.Error, FileNotFoundError):
            process = psutil.Process(pid)
            is_ours = process.create_time() <= board_file.stat().st_mtime + _CLOCK_SLACK_S
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found[pid] = process
    return found


def _with_parent(
    board: Board, children: Mapping[int, psutil.Process]
) -> tuple[Board, dict[int, psutil.Process]]:
    """Add the Supervisor, which publishes the board and is not on it: the parent of its children."""
    for pid in (pid for role, pid in board.processes.items() if role in (ENGINE, SIGNER)):
        with suppress(psutil.Error):
            if pid in children and (parent := children[pid].parent()) is not None:
                named = {**board.processes, SUPERVISOR: parent.pid}
                return msgspec.structs.replace(board, processes=named), {**children, parent.pid: parent}
    return board, dict(children)


def _cores(processes: Mapping[int, psutil.Process]) -> dict[int, float]:
    before = {pid: _cpu_seconds(process) for pid, process in processes.items()}
    began = time.monotonic()
    if processes:
        time.sleep(_CPU_LOOK_S)
    lasted = time.monotonic() - began
    return {pid: (_cpu_seconds(process) - before[pid]) / lasted for pid, process in processes.items()}


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _resident(process: psutil.Process, *, is_alone: bool) -> int:
    total = 0
    with suppress(psutil.Error):
        for each in (process, *([] if is_alone else process.children(recursive=True))):
            with suppress(psutil.Error):
                total += each.memory_info().rss
    return total


def _allowed_silence(source: Source) -> float:
    """Return the setting in force, which a change of the file reaches with the next start only."""
    published, wanted = published_settings(source.data_dir), variable_of("engine_silence_s")
    rows = published.rows if published is not None else []
    told = next((value for name, value, _ in rows if name == wanted), "")
    return float(told) if told else source.settings.engine_silence_s


def _silence(data_dir: Path, pid: int) -> float | None:
    beat = last_beat(heartbeat_path(data_dir), pid)
    return None if beat is None else time.monotonic() - beat
