"""Doctor as a command: what it prints, how it ends, and how it copes with what hangs, lies or is secret."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gaia.cli.__main__ import main
from gaia.localnet.wallets import keypair, write_hotkey
from gaia.validator import validator
from gaia.validator.doctor.examination import CHECKS
from tests.support.doctor_machine import LONGEST_S, Machine
from tests.support.doctor_world import KEY, STRANGER
from tests.support.patience import patience
from tests.support.repository import ROOT


@contextmanager
def silent_server() -> Iterator[str]:
    """Accept connections and never answer; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_every_check_has_a_name_of_its_own_and_there_are_forty_or_more() -> None:
    names = [check.name for check in CHECKS]

    assert len(set(names)) == len(names) >= 40


def test_healthy_machine_has_no_failure(machine: Machine) -> None:
    found = machine.doctor()

    assert {name: check for name, check in found.items() if check["result"] == "failure"} == {}


def test_it_ends_in_ten_seconds_although_everything_hangs(machine: Machine) -> None:
    with silent_server() as address:
        host, port = address.split(":")
        machine.put("GAIA_CHAIN_ENDPOINT", f"ws://{address}")
        machine.put("GAIA_GFS_URL", f"http://{address}")
        machine.put("GAIA_CDS_URL", f"http://{address}")
        machine.put("GAIA_CLIMATOLOGY_URL", f"http://{address}")
        machine.put("GAIA_DATABASE_HOST", host)
        machine.put("GAIA_DATABASE_PORT", port)

        found = machine.doctor()

    assert {name for name, check in found.items() if check["result"] == "failure"} >= {
        "chain",
        "gfs",
        "cds",
        "climatology",
        "database",
    }


def test_disk_that_hangs_is_a_failure(machine: Machine) -> None:
    """Nobody ever writes into the pipe that takes the place of a key."""
    os.mkfifo(machine.wallet("hotkeys", "stuck"))

    found = machine.doctor("--patience", "3")
    with machine.wallet("hotkeys", "stuck").open("w"):
        pass  # lets the thread go

    assert found["in-time"]["result"] == "failure"
    assert "wallet" in found["in-time"]["words"]
    assert found["hotkey-file"]["result"] == "skipped"


def test_command_runs_in_a_process_of_its_own_and_exits_with_the_result(machine: Machine) -> None:
    machine.env_file.chmod(0o644)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.monotonic()

    done = subprocess.run(
        [sys.executable, "-m", "gaia.cli", "doctor", "--only", "configuration", "--only", "hotkey"],
        cwd=machine.folder,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert time.monotonic() - began < patience(LONGEST_S)
    assert (done.returncode, done.stderr) == (2, "")
    assert f"fix chmod 600 {machine.env_file}" in done.stdout


def test_exit_code_tells_warnings_from_failures(machine: Machine) -> None:
    machine.put("GAIA_DRY_RUN", "true")

    assert main(["doctor", "--only", "configuration"]) == 1
    machine.monkeypatch.delenv("GAIA_DRY_RUN")
    assert main(["doctor", "--only", "configuration"]) == 0
    machine.put("GAIA_NETUID", "many")
    assert main(["doctor", "--only", "configuration"]) == 2


def test_unknown_group_is_refused_with_the_known_ones(machine: Machine) -> None:
    assert main(["doctor", "--only", "colour"]) == 1

    assert "there is no group colour; there are configuration, host" in machine.capsys.readouterr().err


def test_settings_that_cannot_be_read_leave_the_host_to_look_at(machine: Machine) -> None:
    machine.put("GAIA_NETUID", "many")

    found = machine.doctor()

    assert found["settings"]["result"] == "failure"
    assert found["python"]["result"] == "ok"
    assert found["chain"]["words"] == "the settings cannot be read"


def test_check_of_the_validator_examines_after_the_settings(machine: Machine) -> None:
    assert validator.main(["--check"]) == 0
    machine.wallet("hotkeys", "default").unlink()
    assert validator.main(["--check"]) == 2

    printed = machine.capsys.readouterr().out
    assert printed.startswith("GAIA_NETUID ")
    assert "failure  hotkey-file" in printed


def test_no_secret_is_printed(machine: Machine) -> None:
    password, key = "hunter2-canary", json.loads(machine.wallet("hotkeys", "default").read_text())
    machine.put("GAIA_DATABASE_URL", f"postgresql://someone:{password}@127.0.0.1:1/db")
    machine.put("GAIA_CDS_KEY", "canary-key")
    machine.put("DB_PASSWORD", "canary-too")

    printed = json.dumps(machine.doctor())
    main(["doctor", "--all"])
    printed += machine.capsys.readouterr().out

    secrets = [password, "canary-key", "canary-too", KEY, key["privateKey"].removeprefix("0x")]
    assert [secret for secret in secrets if secret in printed] == []


def test_secret_in_an_address_that_cannot_be_read_is_not_printed(machine: Machine) -> None:
    machine.put("GAIA_DATABASE_URL", "postgresql://someone:hunter2@[127.0.0.1:1/db")

    found = machine.doctor()

    assert found["database"]["result"] == "failure"
    assert "hunter2" not in json.dumps(found)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged"),
        (b"{}", "damaged"),
        (b"$NACL" + bytes(100), "encrypted"),
        (b'{"ss58Address": "5Grw", "publicKey": "0x00"}', "damaged"),
    ],
)
def test_hotkey_that_cannot_sign_is_a_failure(machine: Machine, content: bytes, words: str) -> None:
    machine.wallet("hotkeys", "default").write_bytes(content)

    found = machine.doctor("--only", "hotkey")["hotkey-content"]

    assert found["result"] == "failure"
    assert words in found["words"]
    assert "regen-hotkey" in found["fix"][0]["text"]


def test_address_of_another_secret_is_a_failure(machine: Machine) -> None:
    path = machine.wallet("hotkeys", "default")
    content = json.loads(path.read_text())
    content["ss58Address"] = keypair(STRANGER).ss58_address
    path.write_text(json.dumps(content))

    found = machine.doctor("--only", "hotkey")["hotkey-content"]

    assert found["result"] == "failure"


def test_coldkey_on_the_machine_is_a_warning(machine: Machine) -> None:
    machine.wallet("coldkey").write_bytes(b"$NACL")

    found = machine.doctor("--only", "hotkey")["coldkey"]

    assert found["result"] == "warning"


def test_validator_on_the_same_folder_is_no_fault(machine: Machine) -> None:
    """The lock is held by a program of the Supervisor's name."""
    hold = (
        "import fcntl, os, sys, time; lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600);"
        "fcntl.flock(lock, fcntl.LOCK_EX); os.write(lock, b'%d' % os.getpid()); print(flush=True); time.sleep(600)"
    )
    machine.start(*machine.supervisor(hold), str(machine.data("lock")))

    found = machine.doctor("--only", "files")["data-lock"]

    assert (found["result"], found["words"].split(",")[0]) == ("ok", "a validator runs here")


def test_program_that_holds_the_folder_is_for_a_person_to_stop(machine: Machine) -> None:
    hold = (
        "import fcntl, os, sys, time; lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600);"
        "fcntl.flock(lock, fcntl.LOCK_EX); print(flush=True); time.sleep(600)"
    )
    child = machine.start(sys.executable, "-c", hold, str(machine.data("lock")))

    found = machine.doctor("--only", "files")["data-lock"]

    assert found["result"] == "failure"
    assert [step["kind"] for step in found["fix"]] == ["do"]
    assert f"process {child.pid}, " in found["fix"][0]["text"]


def test_registered_hotkey_elsewhere_costs_a_registration(machine: Machine) -> None:
    """No other hotkey of the wallet is registered either, so the command registers this one."""
    machine.wallet("hotkeys", "default").unlink()
    write_hotkey(machine.folder / "wallets", "validator", "default", "//Nobody")

    found = machine.doctor("--only", "chain")["registered"]

    assert found["result"] == "failure"
    assert found["fix"][0]["command"].startswith("btcli subnets register --netuid 57")


@pytest.mark.parametrize(
    ("offset", "result"), [(0, "ok"), (-30, "warning"), (-600, "failure"), (900, "failure")]
)
def test_clock_is_compared_with_the_sources(machine: Machine, offset: int, result: str) -> None:
    class Liar(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(404)
            self.send_header(
                "Date", format_datetime(datetime.now(UTC) + timedelta(seconds=offset), usegmt=True)
            )
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    for name in ("GFS", "CDS", "CLIMATOLOGY"):
        machine.put(f"GAIA_{name}_URL", f"http://127.0.0.1:{server.server_port}")

    found = machine.doctor("--only", "time")["clock-offset"]
    server.shutdown()
    server.server_close()
    thread.join()

    assert found["result"] == result, found
    assert (result == "ok") or found["fix"][0]["command"] == "timedatectl set-ntp true"
