"""A real worker tries to get out: refused by Landlock and seccomp, and by seccomp and the broker alone."""

from __future__ import annotations

import functools
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

import gaia
from gaia.validator.app.sandbox.confine import Level, survey
from gaia.validator.utils.entry_points import HANDLERS
from gaia.validator.utils.errors import ExitCode
from gaia.validator.utils.ipc_types import SandboxMode
from tests.support.escapes import ESCAPES, REFUSALS
from tests.support.forecast_stores import a_field, a_store, reference_files
from tests.support.roles import Supervised, has_ended, until

LANDLOCK: SandboxMode = "required"
SECCOMP_ALONE: SandboxMode = "required, without Landlock"

pytestmark = pytest.mark.skipif(survey().level < Level.FULL, reason="this kernel has no whole sandbox")
both = pytest.mark.parametrize("mode", [LANDLOCK, SECCOMP_ALONE])

Start = Callable[..., Supervised]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a Supervisor with the given options; it is gone when the test ends."""
    started: list[Supervised] = []

    def begin(mode: str, **options: Any) -> Supervised:
        given = {"handlers": "tests.support.escapes", **options}
        started.append(Supervised(tmp_path / f"of-{len(started)}", sandbox=mode, **given))
        return started[-1].start()

    yield begin
    for supervised in started:
        supervised.destroy()


@pytest.fixture(scope="module")
def outcomes_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Mapping[str, str]]:
    """How every escape ends in a worker of the given mode; each mode is tried once."""
    known: dict[str, Mapping[str, str]] = {}

    def outcomes(mode: str) -> Mapping[str, str]:
        if mode not in known:
            known[mode] = try_all(tmp_path_factory.mktemp("escapes"), mode)
        return known[mode]

    return outcomes


def try_all(folder: Path, mode: str) -> Mapping[str, str]:
    """Try every escape in a worker of a validator of its own."""
    supervised = Supervised(folder, sandbox=mode, handlers="tests.support.escapes")
    payload = prepare(folder, supervised.data_dir)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        payload["port"] = listener.getsockname()[1]
        try:
            supervised.start()
            for number, name in enumerate(ESCAPES):
                supervised.submit(f"{number:03}", "escape", **payload, name=name)
            answers = {name: supervised.result(f"{number:03}") for number, name in enumerate(ESCAPES)}
            supervised.end()
        finally:
            supervised.destroy()
    return {
        name: answer["value"]["outcome"] if answer["value"] else answer["failure"]
        for name, answer in answers.items()
    }


def prepare(folder: Path, data_dir: Path) -> dict[str, Any]:
    """Lay out what is worth stealing, and the links an accomplice would have left."""
    outside = folder / "outside"
    for directory in (outside, data_dir / "spool", data_dir / "fields", data_dir / "other"):
        directory.mkdir(parents=True)
    key, victim, program = outside / "key", outside / "victim", data_dir / "spool" / "program"
    for path in (key, victim, program, data_dir / "other" / "secret", data_dir / "key"):
        path.write_text("secret")
    program.chmod(0o700)
    (data_dir / "spool" / "plain").write_text("plain")
    (data_dir / "spool" / "link").symlink_to(key)
    (data_dir / "fields" / "link-to-key").symlink_to(key)
    return {
        "data": str(data_dir),
        "fields": str(data_dir / "fields"),
        "key": str(key),
        "outside": str(outside),
        "package": gaia.__path__[0],
        "program": str(program),
        "signer": str(data_dir / "run" / "signer.sock"),
        "spool": str(data_dir / "spool"),
        "victim": str(victim),
    }


@both
@pytest.mark.parametrize("name", ESCAPES)
def test_escape_is_refused(
    outcomes_of: Callable[[str], Mapping[str, str]], mode: SandboxMode, name: str
) -> None:
    assert outcomes_of(mode)[name] in REFUSALS


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is refused much of this anyway")
def test_escapes_are_real_ones_where_nothing_refuses_them(
    outcomes_of: Callable[[str], Mapping[str, str]],
) -> None:
    refused = {name for name, outcome in outcomes_of("off").items() if outcome in REFUSALS}

    assert refused <= {"load a module", "load a module from a file", "another kernel"}


@both
def test_worker_reads_and_writes_what_its_handlers_need(
    start: Start, tmp_path: Path, mode: SandboxMode
) -> None:
    supervised = start(mode)
    payload = prepare(tmp_path, supervised.data_dir)

    supervised.submit("a", "look", **payload)

    assert supervised.result("a")["value"] == {"content": "plain", "left": []}


@both
def test_worker_reaches_one_engine_after_another(start: Start, mode: SandboxMode) -> None:
    supervised = start(mode)
    supervised.submit("first", "echo")
    pid = supervised.result("first")["value"]["pid"]

    for life in range(3):
        engine = until(lambda: supervised.board().processes.get("io_engine"), "the engine")
        os.kill(engine, signal.SIGKILL)
        until(functools.partial(has_ended, engine), "the engine to end")
        supervised.submit(f"after-{life}", "echo")
        assert supervised.result(f"after-{life}")["value"]["pid"] == pid


@both
def test_worker_alone_is_locked_in_and_the_fork_server_stays_as_it_was(
    start: Start, mode: SandboxMode
) -> None:
    supervised = start(mode)
    supervised.submit("a", "echo")
    worker = psutil.Process(supervised.result("a")["value"]["pid"])

    fork_server = worker.parent()
    assert fork_server is not None
    assert status_of(worker.pid) == {"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0" * 16}
    assert {name: status_of(fork_server.pid)[name] for name in ("NoNewPrivs", "Seccomp")} == {
        "NoNewPrivs": "0",
        "Seccomp": "0",
    }


def status_of(pid: int) -> dict[str, str]:
    """What the kernel says of the sandbox of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {name: values[name] for name in ("NoNewPrivs", "Seccomp", "CapEff")}


def broker_of(supervised: Supervised) -> psutil.Process:
    """Wait for the only worker to work, and return its broker."""
    supervised.submit("a", "echo")
    (broker,) = psutil.Process(supervised.result("a")["value"]["pid"]).children()
    return broker


def worker_of(broker: psutil.Process) -> psutil.Process:
    """Return the worker that a broker serves."""
    return psutil.Process(broker.ppid())


def test_broker_ends_with_its_worker(start: Start) -> None:
    broker = broker_of(start(SECCOMP_ALONE))

    worker_of(broker).kill()

    until(lambda: has_ended(broker.pid), "the broker to end")


def test_worker_that_lost_its_broker_is_replaced(start: Start) -> None:
    supervised = start(SECCOMP_ALONE)
    broker = broker_of(supervised)
    worker = worker_of(broker).pid

    broker.kill()

    until(lambda: has_ended(worker), "the worker to end")
    supervised.submit("b", "echo")
    assert supervised.result("b")["value"]["pid"] != worker


def test_broker_is_locked_in_too(start: Start) -> None:
    broker = broker_of(start(SECCOMP_ALONE))

    assert status_of(broker.pid) == {"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0" * 16}
    assert psutil.Process(broker.pid).net_connections("all") == []


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_scores_are_the_same_inside_and_outside(start: Start, method: str) -> None:
    fields = {"2t": a_field(0), "z500": a_field(1, mean=55_000.0, spread=1500.0)}
    answers = []
    for mode in ("off", LANDLOCK, SECCOMP_ALONE):
        supervised = start(mode, handlers=HANDLERS, start_method=method)
        payload = a_store(supervised.data_dir / "spool", fields)
        for number, role in enumerate(("truth", "climatology", "baseline"), start=1):
            others = {name: a_field(10 * number, float(values.mean())) for name, values in fields.items()}
            payload[role] = reference_files(supervised.data_dir / "fields" / role, others)
        supervised.submit("a", "weather.score.day1", timeout_s=60.0, **payload)
        answers.append(supervised.result("a"))
        supervised.end()

    assert answers[0]["failure"] is None
    assert answers[1:] == [answers[0], answers[0]]


def test_kernel_without_a_sandbox_is_refused_in_one_sentence(start: Start) -> None:
    supervised = start(LANDLOCK, lacking=["landlock_create_ruleset", "seccomp"])

    code, _, errors = supervised.ended()

    assert code == ExitCode.SANDBOX_UNAVAILABLE
    assert "GAIA_SANDBOX: this kernel offers no whole sandbox (none: no Landlock, no seccomp" in errors
    assert "Traceback" not in errors


def test_kernel_without_landlock_has_the_broker(start: Start) -> None:
    supervised = start(LANDLOCK, lacking=["landlock_create_ruleset"])

    assert broker_of(supervised).is_running()


def test_best_effort_takes_what_there_is(start: Start, tmp_path: Path) -> None:
    supervised = start("best-effort", lacking=["seccomp"])
    payload = prepare(tmp_path, supervised.data_dir)

    supervised.submit("a", "escape", **payload, name="read a key")

    assert supervised.result("a")["value"]["outcome"] in REFUSALS
