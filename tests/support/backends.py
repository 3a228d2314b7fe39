"""Places that run units, for tests: a real Supervisor's workers, and a real Dask cluster on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from distributed import Client

from gaia.validator.app.meeting.rendezvous import Board, board_path, read_board, short_directory
from tests.support.backend_handlers import WRITES
from tests.support.patience import Deadline, patience
from tests.support.repository import ROOT
from tests.support.roles import PATIENCE_S, until

HANDLERS = "tests.support.backend_handlers"
WORKERS = 2
MEMORY_MIB = 512
MAX_JOBS = 40
ALLOWED_FAILURES = "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"

_UNDER_OUR_PARENT = """
import sys
from gaia.validator.utils.machine.parent_death import die_with_parent
die_with_parent(int(sys.argv.pop(1)))
"""


def lend_listener(settings: dict[str, Any], pool_socket: socket.socket, signer: str, board: str) -> None:
    """Be the IO-Engine of a Supervisor whose workers a test wants: give it the listening socket."""
    with socket.socket(socket.AF_UNIX) as lender:
        lender.connect(settings["borrower"])
        socket.send_fds(lender, [b"!"], [pool_socket.fileno()])
    signal.sigwait({signal.SIGTERM})


def supervise_workers() -> None:
    """Be a Supervisor of compute workers; runs in a process of its own, told by its last argument."""
    from gaia.validator.app.logging_config import configure_logging
    from gaia.validator.app.supervision import Role
    from gaia.validator.app.supervisor import TARGETS, Options, Supervisor

    options, settings = json.loads(sys.argv[-1])
    configure_logging("INFO", "json", role="supervisor")
    targets = {Role.ENGINE: "tests.support.backends:lend_listener", Role.WORKER: TARGETS[Role.WORKER]}
    sealed = bytes.fromhex(settings)
    sys.exit(Supervisor(Options(**options, settings=sealed, signer_settings=sealed), targets).run())


def _unmeasured() -> dict[str, str]:
    """Our environment without coverage: a worker that is locked in cannot write what coverage wants written."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}


class Crew:
    """A real Supervisor with compute workers that dial `listener`, which a test serves."""

    def __init__(self, folder: Path) -> None:
        import pickle

        folder.mkdir()
        self._data_dir = folder / "data"
        self._data_dir.mkdir()
        directory = short_directory(folder, "borrower.sock")
        directory.mkdir(exist_ok=True)
        borrower = directory / "borrower.sock"
        options = {
            "data_dir": str(self._data_dir),
            "workers": WORKERS,
            "embedded_database": False,
            "handlers": HANDLERS,
            "worker_max_jobs": MAX_JOBS,
            "worker_hard_limit_mib": MEMORY_MIB,
            "poll_s": 0.05,
            "worker_ready_s": patience(10.0),
        }
        settings = pickle.dumps({"borrower": str(borrower)}).hex()
        program = (
            _UNDER_OUR_PARENT + "from tests.support.backends import supervise_workers\nsupervise_workers()"
        )
        with socket.socket(socket.AF_UNIX) as lending, (folder / "log").open("w") as log:
            lending.bind(str(borrower))
            lending.listen()
            lending.settimeout(patience(PATIENCE_S))
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, str(os.getpid()), json.dumps([options, settings])],
                cwd=ROOT,
                env=_unmeasured(),
                stdout=log,
                stderr=log,
            )
            with lending.accept()[0] as lender:
                _, (listener, *_), *_ = socket.recv_fds(lender, 1, 1)
        self.listener = socket.socket(fileno=listener)

    @property
    def board_path(self) -> Path:
        return board_path(self._data_dir)

    def folder(self, name: str) -> Path:
        """Make a folder that its workers may read and write."""
        folder = self._data_dir / WRITES[0] / name
        folder.mkdir(parents=True)
        return folder

    @property
    def is_fresh(self) -> bool:
        """Whether none of its workers ever died, so that the next to die is replaced at once."""
        return not read_board(self.board_path).restarts

    def board(self) -> Board:
        return read_board(self.board_path)

    def end(self) -> None:
        self.listener.close()
        self._process.terminate()
        self._process.wait(patience(PATIENCE_S))


class DaskCluster:
    """A scheduler and its workers, started by the very commands of docs/how-to/run-on-a-cluster.md."""

    def __init__(self, folder: Path, *, workers: int = WORKERS, allowed_failures: int | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        failures = {} if allowed_failures is None else {ALLOWED_FAILURES: str(allowed_failures)}
        self.address = self._start_scheduler("0", **failures)
        if workers:
            self.add_workers("--nworkers", str(workers))

    def _start_scheduler(self, port: str, **environment: str) -> str:
        contact = self._folder / "scheduler.json"
        contact.unlink(missing_ok=True)
        place = ("--host", "127.0.0.1", "--port", port, "--scheduler-file", str(contact))
        self.start("scheduler", *place, **environment)
        until(lambda: "\n".join(lines_of(contact)).endswith("}"), "the scheduler")
        address: str = json.loads(contact.read_text())["address"]
        return address

    def restart_scheduler(self) -> None:
        """Kill it, and start another at the same address, as an orchestrator would."""
        self._started[0].kill()
        self._started.pop(0).wait(patience(PATIENCE_S))
        self._start_scheduler(self.address.rpartition(":")[2])
        self._started.insert(0, self._started.pop())

    @property
    def worker_host(self) -> subprocess.Popen[bytes]:
        """The process whose children are the workers that were there from the first."""
        return self._started[1]

    async def wait_for_workers(self, count: int) -> None:
        """Wait until the scheduler knows so many."""
        async with Client(self.address, asynchronous=True, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            await client.wait_for_workers(count, timeout=patience(PATIENCE_S))

    def add_workers(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        return self.start(
            "worker",
            self.address,
            *("--host", "127.0.0.1", "--nthreads", "1", "--local-directory", str(self._folder)),
            *options,
            **environment,
        )

    def start(self, what: str, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        program = _UNDER_OUR_PARENT + "from dask.__main__ import main\nmain()"
        quiet = {"DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "warning"}
        with (self._folder / f"{what}.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", program, str(os.getpid()), what, *options, "--no-dashboard"],
                cwd=self._folder,
                env={**_unmeasured(), **quiet, "PYTHONPATH": str(ROOT), **environment},
                stdout=log,
                stderr=log,
            )
        self._started.append(process)
        return process

    def end(self) -> None:
        """End workers, then the scheduler; whoever does not go soon is killed with all its children."""
        scheduler, *workers = self._started
        for group in (workers, [scheduler]):
            living = [psutil.Process(each.pid) for each in group if each.poll() is None]
            children = [child for each in living for child in each.children(recursive=True)]
            for each in group:
                each.terminate()
            for each in group:
                try:
                    each.wait(patience(5))
                except subprocess.TimeoutExpired:
                    each.kill()
                    each.wait()
            for child in psutil.wait_procs(children, patience(1))[1]:
                with suppress(psutil.NoSuchProcess):
                    child.kill()


def lines_of(path: Path) -> list[str]:
    """Return the complete lines of a file that another process writes; none while there is no file."""
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


async def eventually(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Wait for `condition` to be true of another process while our loop goes on; return what it returned."""
    deadline = Deadline(timeout_s)
    while not deadline.has_passed:
        if found := condition():
            return found
        await asyncio.sleep(0.005)
    raise AssertionError(f"waited {deadline} in vain for {what}")


async def lines_in(path: Path, count: int) -> list[str]:
    """Wait until the file has so many lines, and return them."""
    await eventually(lambda: len(lines_of(path)) >= count, f"{count} lines in {path.name}")
    return lines_of(path)
