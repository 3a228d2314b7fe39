"""One operator's folder and shell: breaks them, asks doctor, and does what doctor says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gaia.cli.__main__ import main
from gaia.validator.utils.entry_points import SUPERVISOR
from tests.support.doctor_world import KEY, NETUID, PASSWORD, World, free_port
from tests.support.patience import patience
from tests.support.repository import ROOT

LONGEST_S = 10.0
"""A person waits no longer for doctor."""

Checks = Mapping[str, Mapping[str, Any]]


@dataclass
class Machine:
    """An operator's folder, environment and shell, in the world that surrounds it."""

    world: World
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    database: str
    shell: list[str] = field(default_factory=list)
    """Commands of the shell before it starts doctor; empty: doctor runs in this process."""
    known: dict[str, str] = field(default_factory=dict)
    """Values that only the operator knows, by variable."""
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def env_file(self) -> Path:
        return self.folder / ".env"

    def prepare(self) -> None:
        """Write the settings of a healthy validator."""
        settings = {
            "GAIA_NETUID": str(NETUID),
            "GAIA_CHAIN_ENDPOINT": self.world.chain_url,
            "GAIA_WALLET_NAME": "validator",
            "GAIA_WALLET_PATH": str(self.folder / "wallets"),
            "GAIA_DATA_DIR": str(self.folder / "data"),
            "GAIA_DATABASE_HOST": "127.0.0.1",
            "GAIA_DATABASE_PORT": str(self.world.postgres_port),
            "GAIA_DATABASE_NAME": self.database,
            "GAIA_DATABASE_USER": self.database,
            "GAIA_GFS_URL": self.world.sources,
            "GAIA_CDS_URL": f"{self.world.sources}/api",
            "GAIA_CDS_KEY": KEY,
            "GAIA_CLIMATOLOGY_URL": f"{self.world.sources}/climatology.zarr",
            "GAIA_METRICS_PORT": str(free_port()),
            "GAIA_COMPUTE_WORKERS": "1",
        }
        self.known = {
            "GAIA_CDS_KEY": KEY,
            "GAIA_DATABASE_PASSWORD": PASSWORD,
            "GAIA_NOTIFY_URLS": "ntfy://topic",
            "GAIA_NOTIFY_ALIVE_URL": "https://127.0.0.1/alive",
        }
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self.env_file.chmod(0o600)
        (self.folder / "data").mkdir(mode=0o700)
        self.monkeypatch.chdir(self.folder)
        # What the SDK keeps, and what doctor tells libraries about proxies, is for this test alone.
        for name in ("no_proxy", "NO_PROXY"):
            self.monkeypatch.setenv(name, "")
        self.monkeypatch.setenv("HOME", str(self.world.home))

    def put(self, variable: str, value: object) -> None:
        """Set a variable in the environment."""
        self.monkeypatch.setenv(variable, str(value))

    def write(self, variable: str, value: object) -> None:
        """Set a variable in the file; the mode of the file stays."""
        lines = [line for line in self.lines() if not line.startswith(f"{variable}=")]
        self.env_file.write_text("\n".join([*lines, f"{variable}={value}"]) + "\n")

    def remove(self, *variables: str) -> None:
        """Remove variables from the file."""
        kept = [line for line in self.lines() if line.partition("=")[0] not in variables]
        self.env_file.write_text("\n".join(kept) + "\n")

    def lines(self) -> list[str]:
        return self.env_file.read_text().splitlines()

    def wallet(self, *parts: str) -> Path:
        return self.folder.joinpath("wallets", "validator", *parts)

    def data(self, *parts: str) -> Path:
        return self.folder.joinpath("data", *parts)

    def supervisor(self, program: str) -> list[str]:
        """Return the words that run a program, in this folder, under the name of a Supervisor."""
        package = self.folder / "gaia" / "validator"
        package.mkdir(parents=True)
        for folder in (package, package.parent):
            (folder / "__init__.py").touch()
        (package / "app.py").write_text(program)
        return [sys.executable, "-m", SUPERVISOR]

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program that the test ends, and wait for its first line."""
        child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=self.folder)
        self.children.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return child

    def doctor(self, *options: str) -> Checks:
        """Run the command; return what it says, by the name of the check."""
        began = time.monotonic()
        printed = self._printed(["doctor", "--json", *options])
        assert time.monotonic() - began < patience(LONGEST_S)
        return {check["name"]: check for check in json.loads(printed)["checks"]}

    def obey(self, steps: Sequence[Mapping[str, str]]) -> None:
        """Do what doctor says, in order; nothing is left to a person."""
        assert steps
        for step in steps:
            self._obey(step)

    def _obey(self, step: Mapping[str, str]) -> None:
        variable, value = step["variable"], step["value"]
        match step["kind"]:
            case "run" if self.shell:
                self.shell.append(step["command"])
            case "run":
                self._run(step["command"])
            case "set" if step["place"]:
                assert step["place"] == str(self.env_file)
                self.write(variable, value or self.known[variable])
            case "set":
                self.put(variable, value or self.known[variable])
            case "unset" if step["place"]:
                self.remove(variable)
            case "unset":
                self.monkeypatch.delenv(variable)
            case other:
                pytest.fail(f"a person must act ({other}): {step['text']}")

    def _run(self, command: str) -> None:
        path = f"{self.world.programs}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path}
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        for child in self.children:
            if re.search(rf"\bkill {child.pid}\b", command):
                child.wait(patience(10))

    def _printed(self, words: list[str]) -> str:
        patient = [] if "--patience" in words else ["--patience", str(patience(8.0))]
        if not self.shell:
            main([*words, *patient])
            return self.capsys.readouterr().out
        program = " ".join([sys.executable, "-m", "gaia.cli", *words, "--only", "host", *patient])
        done = subprocess.run(
            ["sh", "-c", "\n".join([*self.shell, f"exec {program}"])],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.stdout, done.stderr
        return done.stdout
