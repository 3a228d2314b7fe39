"""Programs of the system that tests run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.repository import ROOT

PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
    "systemd-analyze": "systemd",
    "systemd-tmpfiles": "systemd",
    "bash": "bash",
    "zsh": "zsh",
    "fish": "fish",
    "ld": "binutils",
    "strip": "binutils",
    "gcc": "gcc",
}
"""Program -> package of Debian and Ubuntu."""


def program(name: str) -> Path:
    """Return the path of a program, which .ci/run installs; skip the test if it is missing.

    In CI a missing program fails the test, because nobody reads skips there. Elsewhere it is a
    package of the system that no lock can install, and the other tests say enough.
    """
    found = shutil.which(name) or shutil.which(name, path=str(ROOT / ".venv" / "bin"))
    if found is not None:
        return Path(found)
    missing = (
        f"{name} is missing; on Debian or Ubuntu: apt-get install --no-install-recommends {PACKAGES[name]}"
    )
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)
