"""The parts of a bundle: each is one text, or the reason why there is none."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from gaia.cli import tables
from gaia.cli.status.report import StatusReport
from gaia.cli.status.scrape import metrics_at
from gaia.cli.status.screen import lines_of
from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.engine_note import engine_note_path
from gaia.validator.app.meeting.stack_dumps import NoStack, stacks_of
from gaia.validator.app.observation.pages.outside import holder_of
from gaia.validator.core.status.troubles import troubles_of
from gaia.validator.db.server.report import server_report
from gaia.validator.utils.version import described

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.core.status.facts import Facts

TAIL_BYTES = 256 * 1024
MOST_FILES = 24
_STACK_PATIENCE_S = 3.0
_LIMITS = ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_FSIZE")

Part = tuple[str, Callable[[], str]]
"""Name of the member, and the function that makes its text."""


def parts_of(source: Source, facts: Facts, log_folder: Path | None) -> Iterator[Part]:
    """Yield the parts in the order of their use to a reader; a function may raise any `Exception`."""
    troubles = troubles_of(facts)
    settings, data_dir = source.settings, source.data_dir
    yield "versions.txt", _versions
    yield "status.txt", lambda: "\n".join(lines_of(facts, troubles, None))
    yield "status.json", lambda: as_json(StatusReport.of(facts, troubles))
    yield "settings.txt", lambda: "\n".join("\t".join(row) for row in settings.describe())
    yield "board.json", lambda: rendezvous.board_path(data_dir).read_text()
    yield "engine-note.json", lambda: engine_note_path(data_dir).read_text()
    yield from _stacks(data_dir)
    if facts.work is not None:
        yield "database.json", lambda: _database(source)
    if facts.processes.is_running and settings.metrics_port:
        yield "metrics.txt", lambda: metrics_at(settings.metrics_host, settings.metrics_port)
    yield "machine.txt", lambda: _machine(data_dir)
    if settings.database.is_embedded:
        yield "logs/postgres.log", lambda: tail_of(data_dir / "postgres" / "postgres.log")
    yield from _logs(log_folder)


def as_json(value: Any) -> str:
    """Return a value as `--json` prints it."""
    return json.dumps(value, default=tables.plain, indent=2)


def tail_of(path: Path) -> str:
    """Return the last whole lines of a file, of at most `TAIL_BYTES`."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        content = file.read()
    if size > TAIL_BYTES:
        content = content.partition(b"\n")[2]
    return content.decode(errors="replace")


def _versions() -> str:
    installed = sorted({f"{each.name}=={each.version}" for each in metadata.distributions()}, key=str.lower)
    return "\n".join(
        [
            f"gaia {described()}",
            f"made {datetime.now(UTC).isoformat()}",
            f"python {sys.version}",
            f"platform {platform.platform()}, {platform.libc_ver()}",
            "",
            *installed,
        ]
    )


def _machine(data_dir: Path) -> str:
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(data_dir))
    limits = [f"{name} {resource.getrlimit(getattr(resource, name))}" for name in _LIMITS]
    return "\n".join(
        [
            f"cores {os.cpu_count()}, load {os.getloadavg()}",
            f"memory {memory.total} bytes, {memory.available} available, swap {psutil.swap_memory().total}",
            f"disk of the data folder {disk.total} bytes, {disk.free} free",
            f"started {datetime.fromtimestamp(psutil.boot_time(), UTC).isoformat()}",
            *limits,
            "",
            *(_process_line(pid) for pid in sorted(_pids(data_dir))),
        ]
    )


def _process_line(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            memory, cpu = process.memory_info(), process.cpu_times()
            return (
                f"process {pid} {process.status()}, {memory.rss} bytes resident, {process.num_threads()} threads,"
                f" {cpu.user + cpu.system:.1f} CPU s, since {process.create_time():.0f}"
            )
    except psutil.Error as error:
        return f"process {pid}: {error}"


def _pids(data_dir: Path) -> dict[int, str]:
    """Return pid -> name of every Python process of the validator and of its database server."""
    board = rendezvous.read_board(rendezvous.board_path(data_dir))
    holder = holder_of(data_dir)
    pids = {} if holder is None else {holder: "supervisor"}
    pids |= {pid: f"compute_worker-{name}" for name, pid in board.workers.items()}
    return pids | {pid: role for role, pid in board.processes.items()}


def _stacks(data_dir: Path) -> Iterator[Part]:
    run = rendezvous.run_directory(data_dir)
    names = _pids(data_dir)
    dumps = run / "dumps"
    offering = (
        {int(path.name) for path in dumps.iterdir() if path.name.isdecimal()} if dumps.is_dir() else set()
    )
    helpers = {pid for pid in offering - names.keys() if Path("/proc", str(pid)).exists()}
    for pid in [*(pid for pid, name in names.items() if name != "postgres"), *sorted(helpers)]:
        name = names.get(pid, "helper")
        yield f"stacks/{name}-{pid}.txt", partial(_stack, run, pid)


def _stack(run: Path, pid: int) -> str:
    try:
        return stacks_of(run, pid, _STACK_PATIENCE_S)
    except NoStack as error:
        return f"{error}\n"


def _database(source: Source) -> str:
    with source:
        return as_json(source.read(server_report))


def _logs(folder: Path | None) -> Iterator[Part]:
    """Yield the ends of the log files that were written last."""
    if folder is None:
        return
    files = [path for path in folder.iterdir() if path.is_file() and ".log" in path.name]
    files.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[:MOST_FILES]:
        yield f"logs/{path.name}", partial(tail_of, path)
