"""Observes a validator from outside: its board, heartbeats, note, metrics, disk and database."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.cli.status.scrape import jobs_at
from gaia.cli.status.work import read_work
from gaia.tasks.defined_tasks.weather.schedule import Cadence, next_opening
from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.engine_note import EngineNote, read_engine_note
from gaia.validator.app.meeting.heartbeat import last_beat
from gaia.validator.core.clock import SimulatedClock
from gaia.validator.core.status.facts import (
    Chain,
    Death,
    Disk,
    Facts,
    Job,
    Limits,
    OpenFiles,
    Processes,
    Work,
)
from gaia.validator.utils.errors import ConfigurationError, GaiaError

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.utils.config import Settings

_LOCKS = Path("/proc/locks")
_MIB = 2**20
_PATIENCE_S = 5.0
"""Seconds that a database may take to answer, because a probe cannot wait longer."""


def observe(source: Source, *, may_start_database: bool) -> Facts:
    """Return what is known about the validator of `source` now; nothing that is out of reach is an error.

    Parameters
    ----------
    source
        A source that is not opened yet.
    may_start_database
        Whether the embedded database of a stopped validator is started for the time of the reading.
        A validator cannot start meanwhile.
    """
    settings, data_dir = source.settings, source.data_dir
    note = read_engine_note(data_dir)
    machine_time = datetime.now(UTC)
    now = _validator_time(settings, note, machine_time)
    processes = processes_of(settings, data_dir)
    can_read = may_start_database or processes.is_running or not settings.database.is_embedded
    work, database_error = (
        _work(source, note, now) if can_read else (None, "it is not read while the validator does not run")
    )
    jobs, metrics_error = _jobs(settings) if processes.is_running else (None, "")
    return Facts(
        machine_time=machine_time,
        now=now,
        is_simulated=settings.clock_file is not None,
        data_dir=str(data_dir),
        rule_set=settings.rule_set,
        limits=_limits(settings, note, now),
        processes=processes,
        chain=None if note is None else chain_of(note, settings.weights_interval_blocks),
        work=work,
        database_error=database_error,
        jobs=jobs,
        metrics_error=metrics_error,
        disk=_disk(data_dir, settings.data_min_free_mib),
    )


def processes_of(settings: Settings, data_dir: Path) -> Processes:
    """Return which processes of the validator of `data_dir` live, and which should."""
    board = rendezvous.read_board(rendezvous.board_path(data_dir))
    pids = {role: [pid] for role, pid in board.processes.items()}
    pids["compute_worker"] = list(board.workers.values())
    expected = {"chain_signer": 1, "io_engine": 1, "compute_worker": settings.pool.seats}
    if settings.database.is_embedded:
        expected["postgres"] = 1
    now = time.monotonic()
    hearts = {
        "io_engine": rendezvous.heartbeat_path(data_dir),
        "chain_signer": rendezvous.signer_heartbeat_path(rendezvous.signer_socket_path(data_dir)),
    }
    beats = {
        role: last_beat(path, board.processes[role])
        for role, path in hearts.items()
        if role in board.processes
    }
    return Processes(
        is_running=holder_of(data_dir) is not None,
        is_published=bool(board.processes),
        living={role: sum(map(_lives, those)) for role, those in pids.items()},
        expected={role: count for role, count in expected.items() if count},
        silent_s={role: now - beat for role, beat in beats.items() if beat is not None},
        restarts=sum(board.restarts.values()),
        deaths=[
            Death(at=datetime.fromtimestamp(death.at, UTC), cause=death.sentence) for death in board.deaths
        ],
        stopped={pid: role for role, those in pids.items() for pid in those if _is_stopped(pid)},
        files=list(_open_files(pids)),
    )


def _open_files(pids: Mapping[str, Sequence[int]]) -> Iterator[OpenFiles]:
    """Yield the open files of each process that lives and may be looked at."""
    for role, those in pids.items():
        for pid in those:
            try:
                used = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - only their number counts
                limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
            except OSError:
                continue  # it ended meanwhile, or belongs to another user
            yield OpenFiles(role=role, used=used, limit=limit)


def holder_of(data_dir: Path) -> int | None:
    """Return the pid of the process that holds the lock of `data_dir`; None if nobody does.

    It reads the kernel's list of locks, because a trial lock could stop a validator that starts just then.
    """
    path = data_dir / "lock"
    try:
        inode, pid = path.stat().st_ino, path.read_text().strip()
        held = [line.split() for line in _LOCKS.read_text().splitlines() if "FLOCK" in line]
    except OSError:
        return None
    for _, _, _, _, owner, place, *_ in (fields for fields in held if "->" not in fields):
        if place.rpartition(":")[2] == str(inode) and owner == pid:
            return int(owner)
    return None


def chain_of(note: EngineNote, interval_blocks: int) -> Chain:
    """Return the chain as an engine's note describes it."""
    graph = note.metagraph
    own = next((neuron for neuron in graph.neurons if neuron.uid == graph.own_uid), None)
    return Chain(
        read_at=datetime.fromtimestamp(note.written_at, UTC),
        netuid=graph.netuid,
        block=graph.block,
        hotkey=graph.own_hotkey,
        uid=graph.own_uid,
        stake=own.stake if own else 0.0,
        has_permit=own.validator_permit if own else False,
        last_update=own.last_update if own else 0,
        interval_blocks=max(interval_blocks, graph.weights_rate_limit),
        dividends=graph.own_dividends,
        emission=graph.own_emission,
    )


def _lives(pid: int) -> bool:
    return Path("/proc", str(pid)).exists()


def _is_stopped(pid: int) -> bool:
    """Return whether a signal or a debugger has stopped a process."""
    try:
        stat = Path("/proc", str(pid), "stat").read_text(errors="replace")
    except OSError:
        return False  # it ended meanwhile
    # The name in parentheses may contain blanks and parentheses of its own.
    return stat.rpartition(")")[2].split()[0] in "Tt"


def _validator_time(settings: Settings, note: EngineNote | None, machine_time: datetime) -> datetime:
    if settings.clock_file is None:
        return machine_time
    try:
        return SimulatedClock(settings.clock_file).now()
    except (OSError, ValueError):
        return machine_time if note is None else note.now  # the folder was moved


def _work(source: Source, note: EngineNote | None, now: datetime) -> tuple[Work | None, str]:
    cadence = _cadence(source.settings, note)
    try:
        with source:
            return source.read(
                lambda connection: read_work(connection, source.settings, cadence, now), _PATIENCE_S
            ), ""
    except ConfigurationError as error:
        return None, error.problem
    except (GaiaError, OSError) as error:
        return None, str(error)


def _cadence(settings: Settings, note: EngineNote | None) -> Cadence:
    return Cadence.of(settings.schedule, salt="" if note is None else note.metagraph.own_hotkey)


def _limits(settings: Settings, note: EngineNote | None, now: datetime) -> Limits:
    return Limits(
        engine_silence_s=settings.engine_silence_s,
        signer_silence_s=settings.engine_silence_s + settings.chain_timeout_s,
        metagraph_s=3 * settings.metagraph_interval_s + settings.chain_timeout_s,
        is_dry_run=settings.dry_run,
        opens_runs=next_opening(now - timedelta(days=1), (), _cadence(settings, note)) is not None,
    )


def _jobs(settings: Settings) -> tuple[list[Job] | None, str]:
    if settings.metrics_port == 0:
        return None, ""
    try:
        return jobs_at(settings.metrics_host, settings.metrics_port), ""
    except OSError as error:
        return None, str(getattr(error, "reason", error))


def _disk(data_dir: Path, required_mib: int) -> Disk | None:
    try:
        usage = shutil.disk_usage(data_dir)
    except OSError:
        return None
    return Disk(free=usage.free, size=usage.used + usage.free, required=required_mib * _MIB)
