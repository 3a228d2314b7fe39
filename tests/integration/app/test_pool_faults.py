"""The pool and its Supervisor under what nobody wishes for: stopped processes, native code, settings that change."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gaia.localnet.miners import hostile_frames
from gaia.validator.utils.errors import ExitCode
from tests.support import stopping
from tests.support.forecast_stores import CONTRACT, a_field, a_store, put, reference_files
from tests.support.patience import patience
from tests.support.repository import ROOT
from tests.support.roles import Supervised, has_ended, until

Start = Callable[..., Supervised]
WEATHER = "gaia.tasks.defined_tasks.weather.validator.handlers"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a Supervisor with the given options, and wait until a unit went through it."""
    started: list[Supervised] = []

    def begin(**options: Any) -> Supervised:
        supervised = Supervised(tmp_path, **options).start()
        started.append(supervised)
        supervised.submit("warm", "test.echo")
        supervised.result("warm")
        return supervised

    yield begin
    for supervised in started:
        supervised.destroy()


def only_worker(supervised: Supervised) -> int:
    (pid,) = supervised.board().workers.values()
    return pid


def fork_server_of(supervisor: psutil.Process) -> psutil.Process | None:
    for child in supervisor.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # collected since it was listed
            if "forkserver" in " ".join(child.cmdline()):
                return child
    return None


def test_deadline_ends_native_code_and_its_error_says_where_it_was(start: Start, tmp_path: Path) -> None:
    supervised = start()

    supervised.submit("a", "test.native_hang", timeout_s=1.0, started=str(tmp_path / "started"))

    failure = supervised.result("a")["failure"]
    assert failure.startswith("DeadlineExceeded: test.native_hang was killed at its deadline: deadline in ")
    assert "in native_hang < compute_worker.py" in failure
    (report,) = supervised.board().deaths
    assert (report.cause, report.exit_code, report.unit) == ("deadline", -signal.SIGALRM, "a")
    assert "most recent call first" in report.stack


def test_no_frame_of_a_miner_brings_a_unit_to_its_deadline(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, handlers=WEATHER, sandbox="best-effort").start()
    try:
        payload = three_forecasts(supervised.data_dir)
        supervised.submit("honest", "weather.score.batch", **payload)
        honest = supervised.result("honest")
        assert honest["failure"] is None
        worker = only_worker(supervised)
        spool = supervised.data_dir / "spool"
        # The first would keep a decoder busy beyond the deadline; no check is left to refuse the second.
        endless = hostile_frames.shared_stream(CONTRACT.field_bytes, empty_blocks=43_000)
        put(spool / "b", payload["forecasts"]["b"]["digests"], "2t/1.0.0", endless)
        slow = hostile_frames.many_tables(CONTRACT.field_bytes)
        put(spool / "c", payload["forecasts"]["c"]["digests"], "2t/1.0.0", slow)

        supervised.submit("a", "weather.score.batch", timeout_s=12.0, **payload)
        answer = supervised.result("a")

        assert (answer["failure"], answer["attempt"]) == (None, 1)
        assert answer["value"]["a"] == honest["value"]["a"]
        failures = {hotkey: answer["value"][hotkey]["failure"] for hotkey in "bc"}
        # The second is decoded, in time, to what is no weather.
        assert failures["b"]["error_type"] == "Undecodable"
        assert failures["c"]["error_type"] == "ImplausibleValues"
        assert "block size" in failures["b"]["message"]
        assert only_worker(supervised) == worker
    finally:
        supervised.destroy()


def three_forecasts(data_dir: Path) -> dict[str, Any]:
    """Store three honest forecasts, and what they are measured by; return the payload of their batch."""
    roles = {
        role: reference_files(data_dir / "fields" / role, {"2t": a_field(seed)})
        for seed, role in enumerate(["truth", "climatology", "baseline", "persistence"], start=100)
    }
    stores = {name: a_store(data_dir / "spool" / name, {"2t": a_field(ord(name))}) for name in "abc"}
    shared = {name: value for name, value in stores["a"].items() if name not in ("store_dir", "digests")}
    forecasts = {
        name: {"store_dir": store["store_dir"], "digests": store["digests"]} for name, store in stores.items()
    }
    return shared | roles | {"kind": "day1", "forecasts": forecasts}


def test_two_gigabytes_against_a_limit_of_one_are_an_error_and_the_worker_lives(start: Start) -> None:
    supervised = start(worker_hard_limit_mib=1024)
    worker = only_worker(supervised)

    supervised.submit("a", "test.memory", mib=2048)

    assert supervised.result("a")["failure"].startswith("MemoryError")
    assert only_worker(supervised) == worker


def test_native_code_above_the_limit_loses_its_worker_alone_and_is_quarantined(start: Start) -> None:
    supervised = start(workers=2, worker_hard_limit_mib=256)

    supervised.submit("a", "test.native_memory", mib=2048)
    supervised.submit("b", "test.spin", seconds=1.0)

    assert supervised.result("a")["failure"].startswith(
        "QuarantinedError: test.native_memory killed 3 workers"
    )
    answer = supervised.result("b")
    assert (answer["failure"], answer["attempt"]) == (None, 1)
    reports = supervised.board().deaths
    assert {report.unit for report in reports} == {"a"}
    print(
        "most private memory seen, of 256 MiB allowed:", max(report.private_mib or 0.0 for report in reports)
    )


def test_idle_worker_that_is_stopped_is_found_by_its_canary(start: Start) -> None:
    supervised = start(settings={"canary_interval_s": 0.2})
    victim = only_worker(supervised)

    os.kill(victim, signal.SIGSTOP)

    until(lambda: has_ended(victim), "the canary to be missed")
    supervised.submit("a", "test.echo")
    assert supervised.result("a")["value"]["pid"] != victim


@pytest.mark.parametrize("role", ["io_engine", "chain_signer"])
def test_engine_or_signer_that_is_stopped_is_replaced(start: Start, role: str) -> None:
    supervised = start(engine_silence_s=1.0, signer_silence_s=1.0)
    victim = supervised.board().processes[role]

    os.kill(victim, signal.SIGSTOP)

    until(lambda: supervised.board().processes.get(role, victim) != victim, "another")
    (report,) = supervised.board().deaths
    assert (report.role, report.cause) == (role, "silent")
    supervised.submit("a", "test.echo")
    assert supervised.result("a")["failure"] is None


@pytest.mark.parametrize(("role", "sign"), [("io_engine", "hang"), ("chain_signer", "hang_signer")])
def test_engine_or_signer_whose_loop_hangs_is_replaced(start: Start, role: str, sign: str) -> None:
    supervised = start(engine_silence_s=1.0, signer_silence_s=1.0)
    victim = supervised.board().processes[role]

    (supervised.inbox / sign).touch()

    until(lambda: supervised.board().processes.get(role, victim) != victim, "another")
    (report,) = supervised.board().deaths
    assert (report.role, report.cause) == (role, "silent")


def test_worker_that_is_stopped_while_it_starts_is_replaced(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = tmp_path / "stopped"
    monkeypatch.setenv(stopping.VARIABLE, str(sign))

    supervised = start(handlers=stopping.__name__, sandbox="best-effort", worker_ready_s=1.0)

    (report,) = supervised.board().deaths
    assert (report.pid, report.cause) == (int(sign.read_text()), "startup")
    assert report.lived_s < patience(10.0)


def test_stopped_fork_server_is_woken_when_it_is_needed(start: Start) -> None:
    supervised = start()
    victim = only_worker(supervised)
    fork_server = psutil.Process(victim).ppid()

    os.kill(fork_server, signal.SIGSTOP)
    os.kill(victim, signal.SIGKILL)

    supervised.submit("a", "test.echo")
    assert supervised.result("a")["failure"] is None
    assert psutil.Process(only_worker(supervised)).ppid() == fork_server


def test_fork_server_that_is_stopped_while_it_loads_is_woken(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path).start()
    try:
        assert supervised.process is not None
        supervisor = psutil.Process(supervised.process.pid)
        # It loads for a second or so, and is seen within milliseconds.
        fork_server = until(lambda: fork_server_of(supervisor), "the fork server")
        fork_server.suspend()
        assert not supervised.board().workers

        supervised.submit("a", "test.echo")

        assert supervised.result("a")["failure"] is None
        assert psutil.Process(only_worker(supervised)).ppid() == fork_server.pid
    finally:
        supervised.destroy()


def test_unit_that_a_busy_worker_holds_over_the_death_of_the_engine_does_not_run_twice(
    start: Start, tmp_path: Path
) -> None:
    supervised = start(workers=2)
    started, gate = tmp_path / "started", tmp_path / "gate"
    supervised.submit("a", "test.gated", started=str(started), gate=str(gate))
    until(lambda: started.exists() and started.read_text(), "the unit to start")
    holder = int(started.read_text())
    started.unlink()

    os.kill(supervised.board().processes["io_engine"], signal.SIGKILL)
    supervised.submit("b", "test.echo")
    assert supervised.result("b")["value"]["pid"] != holder
    gate.touch()

    answer = supervised.result("a")
    assert (answer["value"]["pid"], answer["attempt"]) == (holder, 1)
    assert not started.exists()


def test_crashes_are_counted_over_deaths_of_the_engine(start: Start, tmp_path: Path) -> None:
    supervised = start()
    started = tmp_path / "started"
    supervised.submit("a", "test.hang", timeout_s=60.0, started=str(started))

    for _ in range(3):
        until(lambda: started.exists() and started.read_text(), "the unit to start")
        holder = int(started.read_text())
        started.unlink()
        os.kill(supervised.board().processes["io_engine"], signal.SIGKILL)
        os.kill(holder, signal.SIGKILL)

    answer = supervised.result("a")
    assert answer["attempt"] == 3
    assert answer["failure"].startswith("QuarantinedError: test.hang killed 3 workers")


def test_settings_that_may_change_take_effect_without_a_restart(start: Start) -> None:
    supervised = start()
    assert supervised.process is not None
    first, engine = only_worker(supervised), supervised.board().processes["io_engine"]
    supervised.change(workers=2, worker_max_jobs=7)

    supervised.process.send_signal(signal.SIGHUP)

    until(lambda: len(supervised.board().workers) == 2, "a second worker")
    until(lambda: has_ended(first), "the first to be replaced, for it knows the old settings")
    assert supervised.board().processes["io_engine"] == engine
    exit_code, _, errors = supervised.end()
    assert exit_code == ExitCode.OK
    (line,) = [json.loads(line) for line in errors.splitlines() if '"settings_reloaded"' in line]
    assert line["changed"] == {"compute_workers": "2"}
    assert line["need_restart"] == ["netuid"]


def test_supervisor_heeds_a_signal_while_the_database_is_being_made(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, embedded_database=True).start()
    try:
        making = supervised.data_dir / "postgres" / "cluster.new"
        until(making.exists, "initdb")
        began_at = time.monotonic()

        exit_code, _, _ = supervised.end()

        assert exit_code == ExitCode.OK
        print(f"ended after {time.monotonic() - began_at:.2f} s")
        assert not (supervised.data_dir / "postgres" / "cluster").exists()
    finally:
        supervised.destroy()


def test_first_process_of_a_container_collects_the_orphans_of_others() -> None:
    program = (
        "import ctypes, os, subprocess, time\n"
        "from gaia.validator.app.children.spawning import reap_strangers\n"
        "ctypes.CDLL(None).prctl(36, 1)\n"
        "ours = subprocess.Popen(['true'])\n"
        "subprocess.run(['sh', '-c', 'sleep 0.1 & sleep 0.1 &'])\n"
        "end, reaped = time.monotonic() + 10, 0\n"
        "while reaped < 2 and time.monotonic() < end:\n"
        "    if reaped == 0: ours.wait()\n"
        "    reaped += reap_strangers({ours.pid})\n"
        "    time.sleep(0.01)\n"
        "print(reaped, ours.returncode)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)

    assert done.stdout == "2 0\n", done.stderr


def test_supervisor_at_rest_wakes_for_little_but_its_poll(start: Start) -> None:
    """What a wake-up costs is measured by `chaos.py soak`, because it depends on the machine."""
    supervised = start(workers=4, poll_s=0.25)
    until(lambda: len(supervised.board().workers) == 4, "all workers")
    assert supervised.process is not None
    supervisor = psutil.Process(supervised.process.pid)

    before = supervisor.num_ctx_switches().voluntary
    time.sleep(3.0)
    wakes_per_poll = (supervisor.num_ctx_switches().voluntary - before) / (3.0 / 0.25)

    print(f"wake-ups for each poll: {wakes_per_poll:.2f}")
    assert wakes_per_poll < 3.0
