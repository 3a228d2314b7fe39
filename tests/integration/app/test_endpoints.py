"""The endpoints of a whole family of processes: whoever dies, every request is answered by exactly one."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gaia.validator.utils.errors import ExitCode
from tests.support.patience import Deadline, patience
from tests.support.roles import Supervised, until
from tests.support.supervised import Start, pid_of, worker_pid

MONOTONE = ("gaia_child_process_restarts_total", "gaia_process_cpu_seconds_total")


class Reply(NamedTuple):
    status: int
    body: str

    @property
    def report(self) -> dict[str, Any]:
        """The body of a verbose answer."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def counters(self) -> dict[tuple[str, str], float]:
        """What the Supervisor counts, by metric and role."""
        return {
            (sample.name, sample.labels["role"]): sample.value
            for metric in text_string_to_metric_families(self.body)
            for sample in metric.samples
            if sample.name in MONOTONE
        }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def ask(port: int, path: str) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience(20))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return Reply(answer.status, answer.read().decode())
    finally:
        connection.close()


def answered_by(port: int) -> str:
    return str(ask(port, "/livez?verbose").report.get("answered_by"))


def serving(start: Start, port: int, **options: Any) -> Supervised:
    """Start a family, and wait until its engine serves."""
    supervised = start(metrics_port=port, build={"version": "4.0.0", "commit": "c"}, **options)
    until(lambda: _is_listening(port), "the socket")
    until(lambda: answered_by(port) == "io_engine", "the engine to serve")
    return supervised


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=patience(5)).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_engine_is_handed_the_socket_and_so_is_its_standby(start: Start, start_method: str) -> None:
    port = free_port()
    supervised = serving(start, port, start_method=start_method)
    worker_pid(supervised)
    engine = pid_of(supervised, "io_engine")

    os.kill(engine, signal.SIGKILL)

    until(lambda: pid_of(supervised, "io_engine") != engine, "another engine")
    until(lambda: answered_by(port) == "io_engine", "the next engine to serve")
    assert supervised.end()[0] == ExitCode.OK


def test_engine_killed_twenty_times_leaves_no_request_unanswered_and_no_counter_falls(start: Start) -> None:
    port = free_port()
    supervised = serving(start, port, workers=1)
    worker_pid(supervised)
    seen: dict[tuple[str, str], float] = {}
    by_supervisor = 0

    for kill in range(20):
        engine = pid_of(supervised, "io_engine")
        os.kill(engine, signal.SIGKILL)
        has_successor, deadline = False, Deadline(30)
        while not has_successor:
            assert not deadline.has_passed, f"no IO-Engine after kill {kill + 1}"
            live, page = ask(port, "/livez?verbose"), ask(port, "/metrics")
            by_supervisor += live.report["answered_by"] == "supervisor"
            assert (live.status, page.status) == (200, 200)
            for name, value in page.counters.items():
                assert value >= seen.get(name, 0.0), f"{name} fell after kill {kill + 1}"
            seen = page.counters
            is_another = supervised.board().processes.get("io_engine", engine) != engine
            has_successor = is_another and live.report["answered_by"] == "io_engine"
            time.sleep(0.02)

    print(f"{by_supervisor} answers came from the Supervisor")
    until(
        lambda: ask(port, "/metrics").counters["gaia_child_process_restarts_total", "io_engine"] == 20,
        "the last restart to be counted",
    )
    assert {role for name, role in seen if name == "gaia_process_cpu_seconds_total"} >= {
        "supervisor",
        "postgres",
    }


def test_stopped_engine_is_answered_for_and_named(start: Start) -> None:
    port = free_port()
    supervised = serving(start, port, workers=0, engine_silence_s=60.0)

    engine = psutil.Process(pid_of(supervised, "io_engine"))
    engine.suspend()
    until(lambda: engine.status() == psutil.STATUS_STOPPED, "the engine to stop")
    replies: list[Reply] = []

    def is_named() -> bool:
        # It waits in the queue until the Supervisor is sure.
        replies.append(ask(port, "/livez"))
        return replies[-1].status == 503

    until(is_named, "the Supervisor to name the engine")

    # On a busy machine the Supervisor still answers for an engine of which it has not heard yet that it serves.
    assert len(replies) <= 2
    assert replies[-1].body.startswith("io_engine: the IO-Engine has been silent for 1")


def test_supervisor_answers_as_long_as_no_engine_comes_up(start: Start) -> None:
    port = free_port()
    supervised = start(
        metrics_port=port, workers=0, settings={"crash": True}, crash_limit=1000, build={"version": "9"}
    )
    until(lambda: _is_listening(port), "the socket")

    replies = {path: ask(port, path) for path in ("/livez", "/readyz", "/startupz", "/metrics", "/other")}

    assert {path: reply.status for path, reply in replies.items()} == {
        "/livez": 200,
        "/readyz": 503,
        "/startupz": 503,
        "/metrics": 200,
        "/other": 404,
    }
    assert replies["/readyz"].body.startswith("io_engine: no IO-Engine serves")
    assert "io_engine " in replies["/readyz"].body.partition("serves")[2]
    assert 'gaia_build_info{version="9"} 1' in replies["/metrics"].body
    assert supervised.end()[0] == ExitCode.OK


def test_what_the_supervisor_counts_is_on_the_page_of_the_engine_once(start: Start) -> None:
    port = free_port()
    serving(start, port)

    page = ask(port, "/metrics").body

    families = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE gaia_")]
    assert len(families) == len(set(families))
    assert {"gaia_build_info", "gaia_child_up", "gaia_io_event_loop_lag_seconds"} <= set(families)


def test_new_settings_change_the_digest_on_the_page(start: Start) -> None:
    port = free_port()
    supervised = serving(start, port, workers=0)
    assert 'commit="c"' in ask(port, "/metrics").body

    supervised.change(build={"version": "4.0.0", "commit": "d"})
    assert supervised.process is not None
    os.kill(supervised.process.pid, signal.SIGHUP)

    until(lambda: 'commit="d"' in ask(port, "/metrics").body, "the new digest")


def test_slow_client_of_the_supervisor_delays_no_child(start: Start) -> None:
    port = free_port()
    supervised = start(metrics_port=port, workers=0, settings={"crash": True}, crash_limit=1000)
    until(lambda: _is_listening(port), "the socket")

    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    for client in slow:
        client.sendall(b"GET /liv")
    restarts = supervised.board().restarts.get("io_engine", 0)

    until(lambda: supervised.board().restarts.get("io_engine", 0) > restarts, "the next engine")
    for client in slow:
        client.close()


def test_busy_port_ends_with_its_sentence_before_any_child_starts(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        supervised = start(metrics_port=port)
        exit_code, _, errors = supervised.ended()

    assert exit_code == ExitCode.PORT_BUSY
    assert errors.splitlines()[-1] == (
        f"GAIA_METRICS_PORT: port {port} on 127.0.0.1 is in use; choose a free port, or 0 to serve no metrics."
    )
    assert "child_started" not in errors


def test_supervisor_at_rest_with_endpoints_wakes_no_oftener(start: Start) -> None:
    port = free_port()
    supervised = serving(start, port, workers=2, poll_s=0.25)
    until(lambda: len(supervised.board().workers) == 2, "all workers")
    assert supervised.process is not None
    supervisor = psutil.Process(supervised.process.pid)

    before = supervisor.num_ctx_switches().voluntary
    time.sleep(3.0)
    wakes_per_poll = (supervisor.num_ctx_switches().voluntary - before) / (3.0 / 0.25)

    assert wakes_per_poll < 3.0


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """What systemd listens with: its socket, and the address that it puts into the environment."""
    name = f"@gaia-{os.getpid()}-{tmp_path.name}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name[1:] if name.startswith("@") else name)
        receiver.settimeout(patience(30))
        yield receiver, name


def told(receiver: socket.socket, awaited: str) -> list[str]:
    """Return what the Supervisor said, up to the awaited assignment."""
    said: list[str] = []
    while awaited not in said:
        said += receiver.recv(4096).decode().splitlines()
    return said


def test_systemd_is_told_of_start_reload_life_and_stop(start: Start, manager: Any) -> None:
    receiver, name = manager
    supervised = start(workers=0, environment={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "400000"})

    starting = told(receiver, "READY=1")
    assert any(line.startswith("STATUS=starting: ") for line in starting)
    assert "WATCHDOG=1" in told(receiver, "STATUS=running") + told(receiver, "WATCHDOG=1")

    supervised.change(log_level="DEBUG")
    assert supervised.process is not None
    os.kill(supervised.process.pid, signal.SIGHUP)
    reloading = told(receiver, "RELOADING=1")
    assert "READY=1" not in reloading
    told(receiver, "READY=1")
    (stamp,) = (line for line in reloading if line.startswith("MONOTONIC_USEC="))
    assert 0 < int(stamp.partition("=")[2]) <= time.monotonic_ns() // 1000

    assert supervised.end()[0] == ExitCode.OK
    assert "STATUS=stopping" in told(receiver, "STOPPING=1") + told(receiver, "STATUS=stopping")


def test_signs_of_life_come_in_time_however_seldom_children_are_looked_at(start: Start, manager: Any) -> None:
    receiver, name = manager
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000000"}
    start(workers=0, poll_s=3600.0, worker_hard_limit_mib=10**9, environment=environment)
    told(receiver, "READY=1")

    for _ in range(3):
        told(receiver, "WATCHDOG=1")


def test_children_are_not_given_the_address_of_systemd(start: Start, manager: Any) -> None:
    receiver, name = manager
    supervised = start(workers=0, environment={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "400000"})
    told(receiver, "READY=1")
    engine = pid_of(supervised, "io_engine")

    assert b"NOTIFY_SOCKET" not in Path(f"/proc/{engine}/environ").read_bytes()
