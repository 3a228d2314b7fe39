"""Doctor and `config show` beside a validator that runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gaia.cli.__main__ import main
from gaia.validator.app.meeting.rendezvous import board_path
from gaia.validator.app.startup.published import published_settings
from tests.support.doctor_machine import Machine
from tests.support.patience import Deadline, patience
from tests.support.repository import ROOT

START_S = 60.0


def _value(machine: Machine, variable: str) -> str:
    """Return a value that the running validator uses; "" while it uses none."""
    published = published_settings(machine.data())
    rows = published.rows if published is not None else []
    return next((value for name, value, _ in rows if name == variable), "")


def _wait_until(machine: Machine, process: subprocess.Popen[bytes], variable: str, value: str) -> None:
    deadline = Deadline(START_S)
    while _value(machine, variable) != value:
        assert process.poll() is None, (machine.folder / "validator.log").read_text()
        assert not deadline.has_passed
        time.sleep(0.05)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_running_validator_is_no_fault_and_shows_its_settings(machine: Machine) -> None:
    machine.write("GAIA_SUPERVISOR_POLL_S", "0.5")
    machine.write("GAIA_LOG_LEVEL", "INFO")
    healthy = machine.doctor()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    with (machine.folder / "validator.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gaia.validator.validator"],
            cwd=machine.folder,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until(machine, process, "GAIA_LOG_LEVEL", "INFO")
        beside = machine.doctor()
        machine.write("GAIA_LOG_LEVEL", "WARNING")
        assert main(["config", "show", "--running", "--diff", "--json"]) == 1
        rows = json.loads(machine.capsys.readouterr().out)
        process.send_signal(signal.SIGHUP)
        _wait_until(machine, process, "GAIA_LOG_LEVEL", "WARNING")
        assert main(["config", "show", "--running", "--diff"]) == 0
    finally:
        process.terminate()
        process.wait(patience(60))

    assert beside["data-lock"]["words"] == f"a validator runs here, as process {process.pid}"
    bad = {name for name, check in beside.items() if check["result"] == "failure"}
    assert bad - {name for name, check in healthy.items() if check["result"] == "failure"} == set()
    assert [(row["name"], row["running"], row["takes_effect"]) for row in rows] == [
        ("GAIA_LOG_LEVEL", "INFO", "reload")
    ]
    assert not board_path(machine.data()).exists()
