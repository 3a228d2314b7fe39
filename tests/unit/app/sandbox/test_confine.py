"""What the kernel offers, what a worker is granted, and what being locked in does to a process."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gaia
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.pool.compute_pool import ComputePool
from gaia.validator.app.sandbox.confine import (
    Grant,
    Level,
    Survey,
    confine,
    grant_for,
    require_sandbox,
    survey,
)
from gaia.validator.app.sandbox.dial import SPARES, EngineDial
from gaia.validator.app.sandbox.measure import measure
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from gaia.validator.utils.ipc_types import SandboxMode
from gaia.validator.utils.logs import files as log_files
from tests.support.patience import patience
from tests.support.poor_kernel import lack

HANDLERS = "gaia.tasks.defined_tasks.weather.validator.handlers"
WEAK = [Survey(landlock=7, seccomp=False, broker=False), Survey(landlock=0, seccomp=True, broker=False)]
NOBODY = 65534
DUMPABLE, NO_NEW_PRIVILEGES = 3, 39
"""prctl options that ask."""

needs_all = pytest.mark.skipif(survey().level < Level.FULL, reason="this kernel has no whole sandbox")
both = pytest.mark.parametrize("mode", ["required", "required, without Landlock"])


def in_a_child(function: Callable[[], Any]) -> Any:
    """Return what `function` returns in a process of its own, which ends afterwards."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = json.dumps(function())
        except BaseException as error:  # noqa: BLE001 - told to the parent, which fails with it
            answer = json.dumps(f"{type(error).__name__}: {error}")
        os.write(sender, answer.encode())
        # Not by an exit, before which others would write files.
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(sender)
    with os.fdopen(receiver) as answers:
        answer = answers.read()
    os.waitpid(pid, 0)
    return json.loads(answer)


def outcome(attempt: Callable[[], Any]) -> str:
    """Return "done", or the name of the error."""
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return "done"


@pytest.fixture
def grant(tmp_path: Path) -> Grant:
    """Folders to read and to write, both for everybody."""
    for name in ("spool", "fields"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    (tmp_path / "spool" / "plain").write_text("plain")
    (tmp_path / "key").write_text("secret")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o111)
    return Grant(read=(str(tmp_path / "spool"),), write=(str(tmp_path / "fields"),))


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Where the engine listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "pool.sock"))
        listener.listen(64)
        yield listener


@pytest.mark.parametrize(
    ("offered", "level", "words"),
    [
        (Survey(landlock=7, seccomp=True, broker=True), Level.FULL, "full: Landlock 7, seccomp"),
        (
            Survey(landlock=0, seccomp=True, broker=True),
            Level.BROKERED,
            "brokered: no Landlock, seccomp, a broker for files",
        ),
        (
            Survey(landlock=0, seccomp=True, broker=False),
            Level.PARTIAL,
            "partial: no Landlock, seccomp, no broker for files",
        ),
        (Survey(landlock=1, seccomp=False, broker=False), Level.PARTIAL, "partial: Landlock 1, no seccomp"),
        (
            Survey(landlock=0, seccomp=False, broker=False),
            Level.NONE,
            "none: no Landlock, no seccomp, no broker for files",
        ),
    ],
)
def test_level_follows_from_what_the_kernel_offers(offered: Survey, level: Level, words: str) -> None:
    assert (offered.level, str(offered)) == (level, words)


def test_what_outer_sandboxes_take_away_is_not_offered() -> None:
    def without(*names: str) -> Callable[[], int]:
        def look() -> int:
            lack(names)
            return survey().level

        return look

    assert in_a_child(without("landlock_create_ruleset")) == Level.BROKERED
    assert in_a_child(without("seccomp")) == Level.PARTIAL
    assert in_a_child(without("landlock_create_ruleset", "seccomp")) == Level.NONE


@pytest.mark.parametrize("names", [["seccomp"], ["landlock_create_ruleset", "seccomp"]])
def test_required_sandbox_that_is_not_to_be_had_ends_in_one_sentence(names: list[str], grant: Grant) -> None:
    def start(enter: Callable[[], Any]) -> Callable[[], list[Any]]:
        def attempt() -> list[Any]:
            lack(names)
            with pytest.raises(ConfigurationError) as raised:
                enter()
            return [raised.value.setting, raised.value.exit_code]

        return attempt

    expected = ["GAIA_SANDBOX", ExitCode.SANDBOX_UNAVAILABLE]
    assert in_a_child(start(lambda: require_sandbox("required"))) == expected
    assert in_a_child(start(lambda: confine("required", grant))) == expected


@pytest.mark.parametrize("mode", ["best-effort", "off"])
def test_sandbox_that_is_not_required_refuses_nobody(mode: SandboxMode) -> None:
    def attempt() -> str:
        lack(["landlock_create_ruleset", "seccomp"])
        require_sandbox(mode)
        return "went on"

    assert in_a_child(attempt) == "went on"


@needs_all
def test_best_effort_takes_what_is_left(grant: Grant) -> None:
    def attempt() -> list[Any]:
        lack(["seccomp"])
        level = confine("best-effort", grant)
        return [level, outcome(lambda: Path("/etc/passwd").read_bytes())]

    assert in_a_child(attempt) == [Level.PARTIAL, "PermissionError"]


def test_off_changes_nothing(grant: Grant) -> None:
    assert confine("off", grant) == Level.NONE
    assert Path("/etc/passwd").read_bytes()


@needs_all
@both
@pytest.mark.parametrize("user", ["ourselves", "nobody"])
def test_worker_of_any_user_is_locked_in(mode: SandboxMode, user: str, grant: Grant, tmp_path: Path) -> None:
    if user == "nobody" and os.geteuid() != 0:
        pytest.skip("only root can become somebody else")

    def attempt() -> dict[str, str]:
        if user == "nobody":
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        confine(mode, grant)
        return {
            "read": outcome((tmp_path / "spool" / "plain").read_bytes),
            "write": outcome(lambda: (tmp_path / "fields" / "made").write_bytes(b"x")),
            "thread": outcome(lambda: threading.Thread(target=int).start()),
            "key": outcome((tmp_path / "key").read_bytes),
            "overwrite": outcome(lambda: (tmp_path / "spool" / "plain").write_bytes(b"x")),
            "socket": outcome(socket.socket),
            "fork": outcome(os.fork),
            "environment": outcome(lambda: Path("/proc/self/environ").read_bytes()),
        }

    allowed = dict.fromkeys(("read", "write", "thread"), "done")
    refused = dict.fromkeys(("key", "overwrite", "socket", "fork", "environment"), "PermissionError")
    assert in_a_child(attempt) == allowed | refused


@needs_all
@both
def test_only_the_engine_can_be_dialled(
    mode: SandboxMode, grant: Grant, listener: socket.socket, tmp_path: Path
) -> None:
    def attempt() -> list[Any]:
        dial = EngineDial(str(tmp_path / "pool.sock"))
        confine(mode, grant, dial)
        connections = [dial.dial() for _ in range(SPARES)]
        connections[-1].sendall(b"the last")
        return [dial.spares, outcome(dial.dial)]

    assert in_a_child(attempt) == [0, "OSError"]
    for _ in range(SPARES - 1):
        listener.accept()[0].close()
    with listener.accept()[0] as last:
        assert last.recv(64) == b"the last"


def test_dial_that_failed_costs_no_socket(tmp_path: Path) -> None:
    dial = EngineDial(str(tmp_path / "pool.sock"))
    dial.pin()
    try:
        with pytest.raises(FileNotFoundError):
            dial.dial()

        assert dial.spares == SPARES
    finally:
        dial.close()


def test_pinned_address_can_only_be_read(tmp_path: Path) -> None:
    dial = EngineDial(str(tmp_path / "pool.sock"))
    place, _ = dial.pin()
    try:
        maps = Path("/proc/self/maps").read_text().splitlines()
        (rights,) = [line.split()[1] for line in maps if line.startswith(f"{place:x}-")]
    finally:
        dial.close()

    assert rights == "r--p"


@needs_all
@both
def test_confined_worker_writes_the_log_files_that_it_opened_before(
    mode: SandboxMode, grant: Grant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can open and rename none, so a full file takes no more lines, which raises nothing."""
    monkeypatch.setattr(log_files, "_MIB", 4096)
    folder = tmp_path / "logs"

    def attempt() -> str:
        files = log_files.LogFiles(folder=str(folder), file_mib=1)
        configure_logging("INFO", "json", files, role="compute_worker", seat=3)
        confine(mode, grant)
        for number in range(100):
            logging.getLogger("application").error("handler_failed", extra={"values": {"number": number}})
        logging.getLogger("security").info("sandbox_entered")
        return outcome(lambda: (folder / "another.log").write_bytes(b"x"))

    assert in_a_child(attempt) == "PermissionError"
    path = folder / "compute_worker-3-application.log"
    numbers = [json.loads(line).get("number") for line in path.read_text().splitlines()]
    assert numbers == list(range(len(numbers)))
    assert 3500 < path.stat().st_size <= 4096
    (entered,) = (folder / "compute_worker-3-security.log").read_text().splitlines()
    assert json.loads(entered)["event"] == "sandbox_entered"


@needs_all
@both
def test_memory_of_a_worker_is_closed_to_its_own_user(mode: SandboxMode, grant: Grant) -> None:
    def attempt() -> list[int]:
        confine(mode, grant)
        return [ctypes.CDLL(None).prctl(option, 0, 0, 0, 0) for option in (DUMPABLE, NO_NEW_PRIVILEGES)]

    assert in_a_child(attempt) == [0, 1]


def test_dial_without_a_sandbox_makes_its_sockets_as_it_goes(listener: socket.socket, tmp_path: Path) -> None:
    dial = EngineDial(str(tmp_path / "pool.sock"))

    dial.dial().close()

    assert dial.spares is None
    dial.close()


def test_dial_that_nobody_answers_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        EngineDial(str(tmp_path / "pool.sock")).dial()


def test_pinned_address_is_in_one_place_only(tmp_path: Path) -> None:
    first = EngineDial(str(tmp_path / "a"))
    first.pin()
    try:
        with pytest.raises(OSError, match="no memory at the pinned address"):
            EngineDial(str(tmp_path / "b")).pin()
    finally:
        first.close()


def test_handlers_are_granted_their_folders_and_no_secrets(tmp_path: Path) -> None:
    granted = grant_for(str(tmp_path), HANDLERS)

    package = Path(gaia.__path__[0])
    assert granted.write == tuple(
        str(tmp_path / name) for name in ("fields", "sketches", "products", "matplotlib")
    )
    assert {str(tmp_path / name) for name in ("spool", "raw")} <= set(granted.read)
    assert str(package) in granted.read
    beside = {str(package.parent), str(tmp_path), str(Path.home()), "/", "/etc", "/proc", "/tmp"}
    assert not beside & set(granted.read)
    assert (tmp_path / "spool").is_dir()


def test_being_locked_in_is_measured(tmp_path: Path) -> None:
    ((wall_ms, cpu_ms),) = measure("off", 1)

    assert 0 < wall_ms < patience(1000)
    assert cpu_ms > 0


def test_pool_knows_its_least_protected_worker() -> None:
    pool = ComputePool(SimpleNamespace(unit_crash_limit=3, unit_timeout_s=60.0))

    assert pool.sandbox_level == Level.NONE
