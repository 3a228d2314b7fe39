"""Stand-ins for the IO-Engine and the signer, and a Supervisor in a process of its own to run them."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from gaia.validator.app.child import STARTED, tell
from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.app.meeting.heartbeat import Heart
from gaia.validator.app.meeting.rendezvous import (
    Board,
    board_path,
    metrics_page_path,
    read_board,
    run_directory,
    signer_heartbeat_path,
)
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from gaia.validator.utils.ipc_types import WorkUnit
from gaia.validator.utils.logs.files import LogFiles
from gaia.validator.utils.machine.parent_death import die_with_parent
from tests.support.patience import Deadline, patience
from tests.support.poor_kernel import lack
from tests.support.repository import ROOT

PATIENCE_S = 30.0
"""On a free machine; `until` and its like wait longer on a busy one."""

_PATIENT = {
    "drain_timeout_s": 10.0,
    "engine_silence_s": 30.0,
    "signer_silence_s": 90.0,
    "database_silence_s": 30.0,
    "worker_ready_s": 10.0,
}
"""Options of the Supervisor that are limits of time, as on a free machine, and what they are unless a test says so."""


def run_test_engine(
    settings: dict[str, Any],
    pool_socket: socket.socket,
    signer_path: str,
    board: str,
    endpoint: socket.socket | None = None,
) -> None:
    """Run the units that the folder `inbox` names; write each result to `outbox`; go on after a restart."""
    import uvloop

    if settings.get("sentence"):
        raise ConfigurationError("GAIA_NETUID", "is odd", "make it even", ExitCode.HOTKEY_NOT_REGISTERED)
    if settings.get("crash"):
        os._exit(1)
    if endpoint is not None:
        serve_well(endpoint, Path(board))
    tell(STARTED)
    uvloop.run(_serve_inbox(settings, pool_socket, Path(board)))


def serve_well(endpoint: socket.socket, board: Path) -> None:
    """Answer every probe well, and /metrics as the engine does, until the process ends."""
    from gaia.validator.app.observation.metrics import all_metrics
    from gaia.validator.app.observation.probes import LIVE, READY, Check, Endpoints
    from gaia.validator.app.observation.serving import ServingThread

    well = [Check(name="all", is_well=True, reason="a stand-in is always well")]
    page = metrics_page_path(board)
    probes = {path: lambda: well for path in (LIVE, READY, "/startupz")}
    ServingThread(
        endpoint, Endpoints(role="io_engine", probes=probes, metrics=lambda: all_metrics(page)).answer
    )


def run_test_signer(settings: dict[str, Any], signer_socket: socket.socket) -> None:
    """Do nothing but beat, until the folder `inbox` has a file `hang_signer`."""
    heart = Heart(signer_heartbeat_path(Path(signer_socket.getsockname())))
    hang = Path(settings["inbox"], "hang_signer")
    while True:
        if hang.exists():
            hang.unlink()
            signal.pause()
        heart.beat()
        time.sleep(0.05)


async def _serve_inbox(settings: dict[str, Any], pool_socket: socket.socket, board: Path) -> None:
    from gaia.validator.app.pool.compute_pool import ComputePool

    limits = SimpleNamespace(unit_crash_limit=3, unit_timeout_s=60.0)
    pool = ComputePool(limits, board, canary_interval_s=settings.get("canary_interval_s", 0.0))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await pool.start(pool_socket)
    inbox, outbox = Path(settings["inbox"]), Path(settings["outbox"])
    running: dict[str, asyncio.Task[None]] = {}
    while not stop.is_set():
        if (inbox / "hang").exists():
            (inbox / "hang").unlink()
            signal.pause()
        if (inbox / "retire").exists() and (idle := pool.idle_workers()):
            (inbox / "retire").unlink()
            for worker in idle:
                pool.retire(worker)
        for path in inbox.iterdir():
            if path.suffix == ".json" and path.name not in running and not (outbox / path.name).exists():
                running[path.name] = asyncio.create_task(_answer(pool, path, outbox / path.name))
        await asyncio.sleep(0.01)
    for task in running.values():
        task.cancel()
    await pool.close()


async def _answer(pool: Any, path: Path, answer: Path) -> None:
    unit = WorkUnit(**json.loads(path.read_text()))
    result = await pool.dispatch_and_wait(unit)
    draft = answer.with_suffix(".draft")
    failure = result.failure and f"{result.failure.error_type}: {result.failure.message}"
    told = {"value": result.value, "failure": failure, "attempt": result.attempt}
    draft.write_text(json.dumps(told, default=bytes.hex))
    # A second answer would be a unit that counted twice.
    os.link(draft, answer)
    draft.unlink()


class Supervised:
    """A real Supervisor below `folder`, with the stand-ins as its children."""

    def __init__(
        self,
        folder: Path,
        *,
        settings: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.data_dir = folder / "data"
        self.inbox, self.outbox = folder / "inbox", folder / "outbox"
        for directory in (self.data_dir, self.inbox, self.outbox):
            directory.mkdir(parents=True, exist_ok=True)
        given = {"inbox": str(self.inbox), "outbox": str(self.outbox), **(settings or {})}
        self.options = {
            "data_dir": str(self.data_dir),
            "workers": 1,
            "embedded_database": False,
            "handlers": "tests.support.handlers",
            # Its vices need the world; what the sandbox forbids is tested by its own tests.
            "sandbox": "off",
            "poll_s": 0.05,
            **options,
            **{name: patience(options.get(name, seconds)) for name, seconds in _PATIENT.items()},
        }
        self._settings = given
        self._environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> Supervised:
        """Start it; `board` tells when its children are there."""
        payload = json.dumps([self.options, pickle.dumps(self._settings).hex()])
        program = "from tests.support.roles import supervise; supervise()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, payload],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def board(self) -> Board:
        """Return who lives now."""
        return read_board(board_path(self.data_dir))

    def submit(self, job_id: str, handler: str, timeout_s: float = 20.0, **payload: Any) -> None:
        """Hand a unit to the engine, and to any engine after it; a busy machine gives it more time."""
        unit = {
            "job_id": job_id,
            "handler": handler,
            "payload": payload,
            "deadline_at": time.time() + patience(timeout_s),
        }
        draft = self.inbox / f"{job_id}.draft"
        draft.write_text(json.dumps(unit))
        draft.rename(self.inbox / f"{job_id}.json")

    def result(self, job_id: str) -> dict[str, Any]:
        """Wait for the unit's answer."""
        answer = self.outbox / f"{job_id}.json"
        until(answer.exists, f"answer to {job_id}")
        found: dict[str, Any] = json.loads(answer.read_text())
        return found

    def change(self, **options: Any) -> None:
        """Give it other settings, to be read at its next SIGHUP."""
        self.options |= options
        (self.data_dir / "reload.json").write_text(json.dumps(self.options))

    def line(self) -> str:
        """Wait for the next line of its log."""
        assert self.process is not None
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self, timeout_s: float = PATIENCE_S) -> tuple[int, str, str]:
        """Ask for an orderly end; return exit code, standard output and standard error."""
        assert self.process is not None
        self.process.terminate()
        return self.ended(timeout_s)

    def ended(self, timeout_s: float = PATIENCE_S) -> tuple[int, str, str]:
        """Wait for the end; return exit code, standard output and standard error."""
        assert self.process is not None
        output, errors = self.process.communicate(timeout=patience(timeout_s))
        return self.process.returncode, output, errors

    def family(self) -> list[psutil.Process]:
        """Return every process that descends from the Supervisor, itself included."""
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def destroy(self) -> None:
        """Leave nothing behind, whatever the test left."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdout, self.process.stderr):
                assert stream is not None
                stream.close()
        for folder in (run_directory(self.data_dir), Path(embedded_dsn(self.data_dir).partition("host=")[2])):
            shutil.rmtree(folder, ignore_errors=True)


def supervise() -> None:
    """Be a Supervisor of stand-ins; runs in a process of its own, told by its last argument."""
    from gaia.validator.app.logging_config import configure_logging
    from gaia.validator.app.supervision import Role
    from gaia.validator.app.supervisor import TARGETS, Options, Supervisor

    # A test run that is killed must not leave a validator behind.
    die_with_parent(os.getppid())
    options, settings = json.loads(sys.argv[-1])
    targets = {
        Role.ENGINE: "tests.support.roles:run_test_engine",
        Role.SIGNER: "tests.support.roles:run_test_signer",
        Role.WORKER: TARGETS[Role.WORKER],
    }
    lack(options.pop("lacking", []))
    options = _with_files(options)
    configure_logging("INFO", "json", options.get("log_files"), role="supervisor")
    program = "from tests.support.roles import reload; reload()"
    reader = (sys.executable, "-c", program, options["data_dir"])
    sealed = bytes.fromhex(settings)
    sys.exit(Supervisor(Options(**options, settings=sealed, signer_settings=sealed), targets, reader).run())


def _with_files(options: dict[str, Any]) -> dict[str, Any]:
    """Return options that were JSON as the Supervisor takes them."""
    files = options.get("log_files")
    return options | {"log_files": LogFiles(**files)} if files is not None else options


def reload() -> None:
    """Read the settings again for `supervise`, from where `Supervised.change` wrote them."""
    import msgspec

    from gaia.validator.app.supervisor_options import Options, Reloaded

    options = _with_files(json.loads(Path(sys.argv[-1], "reload.json").read_text()))
    changed = {"compute_workers": str(options["workers"])}
    sealed = sys.stdin.buffer.read()
    read = Options(**options, settings=sealed, signer_settings=sealed)
    sys.stdout.buffer.write(
        msgspec.msgpack.encode(Reloaded(options=read, changed=changed, refused=["netuid"]))
    )


def until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Wait for `condition` to be true of another process, and return what it returned."""
    deadline = Deadline(timeout_s)
    while not deadline.has_passed:
        if found := condition():
            return found
        time.sleep(0.005)
    raise AssertionError(f"waited {deadline} in vain for {what}")


def has_ended(pid: int) -> bool:
    """Say whether the process is gone, or a zombie that nobody has collected yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
