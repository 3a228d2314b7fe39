"""Looks at a validator's processes, note and disk from outside, without its database and its metrics."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.tasks.defined_tasks.weather.schedule import Cadence, next_opening
from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.engine_note import EngineNote, read_engine_note
from gaia.validator.app.meeting.heartbeat import last_beat
from gaia.validator.core.chain.signer_client import WRITE_CALLS
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
from gaia.validator.db.access.lease import identity_of
from gaia.validator.utils.machine.disk_space import space_of
from gaia.validator.utils.machine.process_state import is_stopped, lives
from gaia.validator.utils.settings.handed import StatusSettings

if TYPE_CHECKING:
    from gaia.validator.utils.settings.database import DatabaseSettings
    from gaia.validator.utils.settings.pool import PoolSettings

_LOCKS = Path("/proc/locks")
_MIB = 2**20
_START_S = 120.0
"""Seconds in which each seat has had its first process, also from a slow disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen of a validator at one moment."""

    settings: StatusSettings
    data_dir: Path
    note: EngineNote | None
    machine_time: datetime
    now: datetime
    """Time on the validator's clock."""
    processes: Processes

    @property
    def cadence(self) -> Cadence:
        """When runs open."""
        return Cadence.of(
            self.settings.schedule, salt="" if self.note is None else self.note.metagraph.own_hotkey
        )

    def facts(
        self, work: Work | None, database_error: str, jobs: Sequence[Job] | None, metrics_error: str
    ) -> Facts:
        """Return the facts, with what the database and the metrics say."""
        settings, note = self.settings, self.note
        return Facts(
            machine_time=self.machine_time,
            now=self.now,
            is_simulated=settings.schedule.clock_file is not None,
            data_dir=str(self.data_dir),
            rule_set=settings.weights.rule_set,
            limits=self._limits(),
            processes=self.processes,
            chain=None if note is None else chain_of(note, settings.weights.weights_interval_blocks),
            work=work,
            database_error=database_error,
            jobs=jobs,
            metrics_error=metrics_error,
            disk=_disk(self.data_dir, settings.files.data_min_free_mib),
            identity=identity_of(self.data_dir),
        )

    def _limits(self) -> Limits:
        pool, chain = self.settings.pool, self.settings.chain
        return Limits(
            engine_silence_s=pool.engine_silence_s,
            signer_silence_s=pool.engine_silence_s + chain.chain_timeout_s,
            # The chain is not read while weights are being set.
            metagraph_s=3 * chain.metagraph_interval_s + WRITE_CALLS * chain.chain_timeout_s,
            is_dry_run=chain.dry_run,
            opens_runs=next_opening(self.now - timedelta(days=1), (), self.cadence) is not None,
        )


def look_at(settings: StatusSettings, data_dir: Path) -> Look:
    """Return what is seen of the validator with these settings."""
    note, machine_time = read_engine_note(data_dir), datetime.now(UTC)
    return Look(
        settings=settings,
        data_dir=data_dir,
        note=note,
        machine_time=machine_time,
        now=_validator_time(settings.schedule.clock_file, note, machine_time),
        processes=processes_of(settings.pool, settings.database, data_dir),
    )


def processes_of(pool: PoolSettings, database: DatabaseSettings, data_dir: Path) -> Processes:
    """Return which processes of the validator of `data_dir` live, and which should."""
    board = rendezvous.read_board(rendezvous.board_path(data_dir))
    pids = {role: [pid] for role, pid in board.processes.items()}
    pids["compute_worker"] = list(board.workers.values())
    expected = {"chain_signer": 1, "io_engine": 1, "compute_worker": pool.seats}
    if database.is_embedded:
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
    is_young = time.time() - board.began_at < _START_S
    return Processes(
        is_running=holder_of(data_dir) is not None,
        is_published=bool(board.processes),
        living={role: sum(map(lives, those)) for role, those in pids.items()},
        expected={role: count for role, count in expected.items() if count},
        silent_s={role: now - beat for role, beat in beats.items() if beat is not None},
        restarts=sum(board.restarts.values()),
        deaths=[
            Death(at=datetime.fromtimestamp(death.at, UTC), cause=death.sentence) for death in board.deaths
        ],
        stopped={pid: role for role, those in pids.items() for pid in those if is_stopped(pid)},
        starting=[
            role for role, count in expected.items() if is_young and board.seats_tried.get(role, 0) < count
        ],
        halt=board.halt,
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
    graph, view = note.metagraph, note.consensus
    own = graph.own
    return Chain(
        read_at=datetime.fromtimestamp(note.written_at, UTC),
        netuid=graph.netuid,
        block=graph.block,
        hotkey=graph.own_hotkey,
        uid=graph.own_uid,
        stake=own.stake if own else 0.0,
        has_permit=graph.may_vote(own) if own else False,
        last_update=own.last_update if own else 0,
        interval_blocks=max(interval_blocks, graph.weights_rate_limit),
        dividends=graph.own_dividends,
        emission=graph.own_emission,
        validator_trust=None if view is None else view.validator_trust,
        next_trust=None if view is None else view.next.validator_trust,
        permit_margin=None if view is None else view.permit.margin,
    )


def _validator_time(clock_file: Path | None, note: EngineNote | None, machine_time: datetime) -> datetime:
    if clock_file is None:
        return machine_time
    try:
        return SimulatedClock(clock_file).now()
    except (OSError, ValueError):
        return machine_time if note is None else note.now  # the folder was moved


def _disk(data_dir: Path, required_mib: int) -> Disk | None:
    try:
        space = space_of(data_dir)
    except OSError:
        return None
    return Disk(free=space.free, size=space.size, required=required_mib * _MIB)
