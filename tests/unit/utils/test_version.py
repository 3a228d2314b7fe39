"""Version and commit, of a checkout and of an installed package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gaia.validator.utils import version
from tests.support.repository import ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def a_checkout(root: Path, head: str) -> Path:
    git = root / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text(head)
    return git


def test_version_is_that_of_the_project_file() -> None:
    declared = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    assert declared is not None
    assert version.version() == declared[1]


def test_without_a_checkout_the_installed_package_is_asked(tmp_path: Path) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", version.version(tmp_path))


def test_commit_is_the_one_that_git_names() -> None:
    said = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)

    assert version.commit() == said.stdout.strip()


@pytest.mark.parametrize("name", ["main", "a/branch"])
def test_commit_of_a_branch_is_found_loose_or_packed(tmp_path: Path, name: str) -> None:
    loose, packed = tmp_path / "loose", tmp_path / "packed"
    git = a_checkout(loose, f"ref: refs/heads/{name}\n")
    (git / "refs" / "heads" / name).parent.mkdir(exist_ok=True)
    (git / "refs" / "heads" / name).write_text(f"{COMMIT}\n")
    git = a_checkout(packed, f"ref: refs/heads/{name}\n")
    (git / "packed-refs").write_text(
        f"# pack-refs with: peeled\n{'f' * 40} refs/x\n{COMMIT} refs/heads/{name}\n"
    )

    assert (version.commit(loose), version.commit(packed)) == (COMMIT, COMMIT)


def test_commit_of_a_detached_head_is_the_head(tmp_path: Path) -> None:
    a_checkout(tmp_path, COMMIT)

    assert version.commit(tmp_path) == COMMIT


@pytest.mark.parametrize("head", ["", "ref: refs/heads/main", "garbage", "ref: ../../../etc/hostname"])
def test_unreadable_repository_has_no_commit(tmp_path: Path, head: str) -> None:
    a_checkout(tmp_path, head)

    assert version.commit(tmp_path) == ""


def test_package_installed_from_a_repository_knows_its_commit(tmp_path: Path) -> None:
    note = tmp_path / "gaia_validator-4.0.0.dist-info" / "direct_url.json"
    note.parent.mkdir()
    note.write_text(json.dumps({"url": "https://x/y", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}))

    assert version.commit(tmp_path) == COMMIT


@pytest.mark.parametrize("note", ["{", "[]", '{"url": "file:///x", "dir_info": {}}', '{"vcs_info": 3}'])
def test_package_from_elsewhere_has_no_commit(tmp_path: Path, note: str) -> None:
    path = tmp_path / "gaia_validator-4.0.0.dist-info" / "direct_url.json"
    path.parent.mkdir()
    path.write_text(note)

    assert version.commit(tmp_path) == ""


@pytest.mark.parametrize("module", ["gaia.validator.validator", "gaia.miner.miner"])
def test_programs_print_their_version(module: str) -> None:
    program = f"import sys; from {module} import main; sys.exit(main(['--version']))"

    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    words = ended.stdout.strip()
    assert words.endswith(version.described())
    assert words.startswith("gaia-")
