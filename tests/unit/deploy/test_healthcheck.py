"""The health check of the image asks the validator itself, and nobody else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.patience import patience
from tests.support.repository import ROOT

PROGRAM = ROOT / "deploy" / "docker" / "healthcheck.py"


class Probe(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = 200 if self.path == "/livez" and self.server.is_well else 503  # type: ignore[attr-defined]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"ok" if status == 200 else b"event_loop: stuck")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        return


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Probe)
    made.is_well = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def checked(port: int, **more: str) -> tuple[int, str]:
    environment = os.environ | {"GAIA_METRICS_PORT": str(port)} | more
    done = subprocess.run(
        [sys.executable, "-IS", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=patience(60),
    )
    return done.returncode, done.stdout.strip()


def test_a_validator_that_lives_is_well(server: ThreadingHTTPServer) -> None:
    assert checked(server.server_port) == (0, "200 ok")


def test_a_validator_that_is_stuck_is_not_well_and_the_reason_is_kept(server: ThreadingHTTPServer) -> None:
    server.is_well = False  # type: ignore[attr-defined]

    assert checked(server.server_port) == (1, "503 event_loop: stuck")


def test_a_port_that_nobody_serves_is_not_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    code, said = checked(port)

    assert (code, said.startswith(f"/livez does not answer on port {port}")) == (1, True)


def test_a_proxy_of_the_environment_is_not_asked(server: ThreadingHTTPServer) -> None:
    assert checked(server.server_port, http_proxy="http://127.0.0.1:9") == (0, "200 ok")
