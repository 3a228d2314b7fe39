"""What is locked satisfies pyproject.toml, comes with hashes, and names no address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from generate import locks
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.repository import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = PYPROJECT["dependency-groups"]
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
RUNTIME = PYPROJECT["project"]["dependencies"]
WANTED: dict[str, list[str]] = {
    "runtime": RUNTIME,
    **{name: [*RUNTIME, *wanted] for name, wanted in EXTRAS.items()},
    **GROUPS,
}
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)", re.MULTILINE)


def _text(lock: str) -> str:
    return (ROOT / locks.FOLDER / f"{lock}.lock").read_text()


def _pins(lock: str) -> dict[str, set[str]]:
    """Return name -> locked versions: more than one where Pythons or platforms need different ones."""
    pins: dict[str, set[str]] = {}
    for name, version in PIN.findall(_text(lock)):
        pins.setdefault(canonicalize_name(name), set()).add(version)
    return pins


def test_every_extra_and_group_has_a_lock_and_every_lock_has_its_command() -> None:
    files = {path.stem for path in (ROOT / locks.FOLDER).iterdir()}

    assert files == set(WANTED) == set(locks.LOCKS)


@pytest.mark.parametrize("lock", sorted(WANTED))
def test_lock_satisfies_pyproject(lock: str) -> None:
    pins = _pins(lock)

    for requirement in map(Requirement, WANTED[lock]):
        versions = pins.get(canonicalize_name(requirement.name), set())
        assert versions, f"{requirement.name} is not in {lock}.lock: run scripts/generate/locks.py"
        outside = [version for version in versions if Version(version) not in requirement.specifier]
        assert outside == [], f"{lock}.lock has {requirement.name} {outside}: run scripts/generate/locks.py"


@pytest.mark.parametrize("lock", sorted(WANTED))
def test_lock_agrees_with_what_runs(lock: str) -> None:
    runtime = _pins("runtime")

    differing = {
        name: versions for name, versions in _pins(lock).items() if versions - runtime.get(name, versions)
    }

    assert differing == {}


@pytest.mark.parametrize("lock", sorted(WANTED))
def test_every_version_has_hashes_and_none_an_address(lock: str) -> None:
    text = _text(lock)
    entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))

    assert "://" not in text
    assert "--index-url" not in text
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_lock_that_names_an_address_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / locks.FOLDER).mkdir()
    (tmp_path / locks.FOLDER / "runtime.lock").write_text("a @ https://example.org/a.whl\n")
    monkeypatch.setattr(locks, "ROOT", tmp_path)
    monkeypatch.setattr(locks, "command", lambda lock: ["true"])

    with pytest.raises(SystemExit, match=r"runtime\.lock names an address"):
        locks.main([])
