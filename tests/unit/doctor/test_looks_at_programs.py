"""Looks at locks, ports and processes: they see what is there, and are in nobody's way."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gaia.validator.app.startup.endpoint import open_endpoint
from gaia.validator.app.startup.preflight import claim_data_dir
from gaia.validator.doctor.looks.files import look_at_folder
from gaia.validator.doctor.looks.locks import lock_holder
from gaia.validator.doctor.looks.ports import look_at_port, look_at_proxies, next_free_port
from gaia.validator.doctor.looks.processes import client_at, supervisor_of
from gaia.validator.utils.config import Settings
from tests.support.repository import ROOT

STARTS = 2000
_AUDITED = """
import sys
from pathlib import Path
from gaia.validator.doctor.looks.files import look_at_folder
from gaia.validator.utils.config import Settings
settings = Settings(data_dir=Path(sys.argv[1]))
sys.addaudithook(lambda event, _: event.startswith("fcntl.") and print(event))
print("holder", look_at_folder(settings.files).holder_pid)
"""
_LOOKS = """
import sys
from gaia.validator.app.startup.endpoint import require_free
from gaia.validator.utils.errors import ConfigurationError
print("looking", flush=True)
while True:
    try:
        require_free("127.0.0.1", int(sys.argv[1]))
    except ConfigurationError:
        continue
"""
_HOLDS = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(lock, fcntl.LOCK_EX)
if os.fork():
    os._exit(0)
print("held", flush=True)
sys.stdin.read()
"""


def test_folder_is_looked_at_without_ever_taking_its_lock(tmp_path: Path) -> None:
    """A trial lock would refuse a validator that starts just then; Python tells hooks of each lock."""
    lock = claim_data_dir(tmp_path)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _AUDITED, tmp_path],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        os.close(lock)

    assert done.stdout.split() == ["holder", str(os.getpid())]


def test_lock_that_outlived_its_process_is_held_by_an_unknown_one(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.wait()
        held = lock_holder(lock)

    assert held == -1


def test_file_without_a_lock_has_no_holder(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("1\n")

    assert lock_holder(tmp_path / "lock") == lock_holder(tmp_path / "missing") == 0


def test_validator_may_start_while_doctor_looks_at_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-c", _LOOKS, str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    ) as looker:
        assert looker.stdout is not None
        looker.stdout.readline()
        try:
            for _ in range(STARTS):
                endpoint = open_endpoint("127.0.0.1", port)
                assert endpoint is not None
                endpoint.close()
        finally:
            looker.kill()


def test_busy_port_is_seen_with_who_listens_and_the_next_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        found = look_at_port(Settings(metrics_port=port).observation)

    assert "in use" in found.problem
    assert found.holder_pid == os.getpid()
    assert found.free is not None
    assert found.free != port


def test_highest_port_has_a_next_one_below() -> None:
    free = next_free_port("127.0.0.1", 65_535)

    assert free is not None
    assert 65_335 <= free < 65_535


def test_client_is_the_process_that_connects_and_no_listener_of_that_port() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        here, port = client.getsockname()

        assert client_at(here, port) == os.getpid()
        assert client_at("127.0.0.9", port) == 0
        assert client_at(here, server.getsockname()[1]) in (0, os.getpid())


def test_supervisor_is_proved_by_its_command_and_its_user(tmp_path: Path) -> None:
    package = tmp_path / "gaia" / "validator"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "app.py").write_text("import sys; print('up', flush=True); sys.stdin.read()")
    started = {}
    for name, words in {
        "real": ["-m", "gaia.validator.app", "3"],
        "named": ["-c", "input()", "gaia.validator.app"],
    }.items():
        started[name] = subprocess.Popen(
            [sys.executable, *words], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    real, named = started["real"], started["named"]
    assert real.stdout is not None
    real.stdout.readline()
    try:
        assert supervisor_of(real.pid, os.geteuid()) == real.pid
        assert supervisor_of(real.pid, os.geteuid() + 1) == 0
        assert supervisor_of(named.pid, os.geteuid()) == 0
    finally:
        for child in started.values():
            child.communicate(b"\n")


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("http://127.0.0.9", "127.0.0.9:80"),
        ("127.0.0.9", "127.0.0.9:80"),
        ("https://127.0.0.9", "127.0.0.9:443"),
        ("socks5://127.0.0.9", "127.0.0.9:1080"),
        ("http://someone:hushhush@127.0.0.9:1", "127.0.0.9:1"),
    ],
)
def test_proxy_without_a_port_has_that_of_its_protocol(address: str, place: str) -> None:
    (proxy,) = look_at_proxies({"HTTPS_PROXY": address})

    assert proxy.place == place
    assert "hushhush" not in str(proxy)


def test_proxy_of_a_protocol_that_httpx_does_not_speak_is_a_problem() -> None:
    (proxy,) = look_at_proxies({"ALL_PROXY": "ftp://127.0.0.1:21"})

    assert proxy.problem == "ftp is no protocol of proxies"


def test_survey_of_a_folder_says_where_it_stopped(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / str(number)).touch()
    files = Settings(data_dir=tmp_path).files

    whole, part = look_at_folder(files), look_at_folder(files, most_files=3)

    assert (whole.files, whole.is_whole) == (5, True)
    assert (part.files, part.is_whole) == (3, False)
