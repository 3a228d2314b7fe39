"""A local subnet whose validators have one database, and each a data folder and a release of its own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from gaia.localnet.children import Child
from gaia.localnet.options import Options, validator_environment
from gaia.localnet.subnet import VALIDATOR, LocalSubnet
from gaia.localnet.view.watch import Watch
from gaia.validator.utils.entry_points import VALIDATOR as VALIDATOR_PROGRAM
from tests.support.patience import patience
from tests.support.repository import ROOT

RESULTS = (
    "SELECT run_id, hotkey, rule_set, kind, lead_hours, score, reason FROM lead_scores ORDER BY 1, 2, 3, 4, 5",
    "SELECT to_jsonb(component_scores) - 'scored_at' FROM component_scores ORDER BY 1",
    "SELECT run_id, hotkey, rule_set, day1, leads, overall, counted FROM score_table ORDER BY 1, 2, 3",
    "SELECT run_id, hotkey, state, reason, manifest_sha256 FROM forecasts ORDER BY 1, 2",
    "SELECT run_id, rule_set, kind, lead_hours, payload, digests FROM lead_inputs ORDER BY 1, 2, 3, 4",
    "SELECT run_id, lead_hours, sha256, hotkeys FROM gram_matrices ORDER BY 1, 2",
)
"""Everything that a run leaves, but for moments and costs."""


async def results(dsn: str) -> list[list[tuple[Any, ...]]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [[tuple(row) for row in await connection.fetch(query)] for query in RESULTS]
    finally:
        await connection.close()


def release(commit: str, folder: Path) -> Path:
    """Write the code of an earlier release into `folder`; where the checkout has no history, skip the test, but fail in CI."""
    packed = subprocess.run(["git", "archive", commit, "gaia"], cwd=ROOT, capture_output=True)
    if packed.returncode != 0:
        words = f"this checkout does not have commit {commit}: {packed.stderr.decode().strip()}"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


class SharedDatabase(LocalSubnet):
    """A subnet whose validators have one database, and each a data folder of its own."""

    def __init__(self, state_dir: Path, options: Options, dsn: str) -> None:
        super().__init__(state_dir, options)
        self._dsn = dsn
        self._watch = Watch(dsn)
        self._code, self._unknown = ROOT, frozenset[str]()

    async def _start_services(self) -> None:
        await super()._start_services()
        self.use("one")

    def use(self, name: str) -> Path:
        """Give the next validator the data folder `name`; return it."""
        assert self.settings is not None
        folder = self.state_dir / name
        self.settings = self.settings.model_copy(
            update={"data_dir": folder, "database_url": SecretStr(self._dsn)}
        )
        return folder

    def install(self, code: Path, unknown: Collection[str] = ()) -> None:
        """Let the next validator be of another release, which does not know some settings."""
        self._code, self._unknown = code, frozenset(unknown)

    def start_validator(self) -> None:
        arguments = [sys.executable, "-m", VALIDATOR_PROGRAM]
        self.validator = Child(VALIDATOR, self.state_dir, arguments, self._environment())
        self.validator.start()

    def gaia(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the installed release with the settings of the validator."""
        command = [sys.executable, "-m", "gaia.cli", *words]
        return subprocess.run(
            command,
            cwd=self.state_dir,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=patience(60),
        )

    async def kill_validator(self) -> None:
        assert self.validator is not None
        await self.validator.stop(patience(10.0), signal.SIGKILL)

    def said(self) -> set[str]:
        """Return the events that the validators have logged."""
        assert self.validator is not None
        lines = self.validator.log_path.read_text().splitlines()
        return {json.loads(line)["event"] for line in lines if line.startswith("{")}

    def _environment(self) -> dict[str, str]:
        assert self.settings is not None
        values = self.settings.model_dump(exclude_unset=True, exclude=set(self._unknown))
        environment = validator_environment(self.state_dir, values) | {"PYTHONPATH": str(self._code)}
        if self._code == ROOT:
            return environment
        # Coverage is of this release; the files of another are gone when it is reported.
        return {name: value for name, value in environment.items() if not name.startswith("COV")}
