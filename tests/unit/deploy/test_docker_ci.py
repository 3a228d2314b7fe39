"""The program that tries images and compose files says what it lacks, and what it measures is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import docker_ci
import pytest
import run_tests
from campaigns.docker import engine as docker_engine
from campaigns.docker.engine import Engine, EngineError, wait_for

from tests.support.repository import ROOT


def test_without_docker_it_says_so_and_measures_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "docker_ci.py", "--json", "--only", "build"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert json.loads(done.stdout) == {"passed": False, "violations": ["docker is not installed"]}


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    fake = tmp_path / "docker"
    fake.write_text("#!/bin/sh\necho 'no such image' >&2\nexit 3\n")
    fake.chmod(0o755)

    with pytest.raises(EngineError, match="docker image ended with 3: no such image"):
        _at(tmp_path).run("image")


def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    fake = tmp_path / "docker"
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)

    with pytest.raises(EngineError, match="took longer than 0 s"):
        _at(tmp_path).run("build", timeout_s=0.2)


def test_what_does_not_come_true_is_an_error() -> None:
    with pytest.raises(EngineError, match="the sea is dry: not within 0 s"):
        wait_for("the sea is dry", lambda: False, 0.1)


def test_what_is_true_already_costs_no_time() -> None:
    assert wait_for("it is so", lambda: True, 0.0) < docker_engine.ENGINE_POLL_S


def test_each_part_can_be_chosen() -> None:
    chosen = docker_ci.parser().parse_args([word for part in docker_ci.PARTS for word in ("--only", part)])

    assert tuple(chosen.only) == docker_ci.PARTS


def _at(folder: Path) -> Engine:
    """An engine whose command is the one in `folder`, found before any other."""
    return Engine({"PATH": f"{folder}:/usr/bin:/bin"})


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with what was asked of docker, which is a program of this test; and of the tests' command."""
    log = tmp_path / "calls"
    for name, code in (("docker", 0), ("pytest", 3)):
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\necho "{name} $* ${{TEST_DATABASE_URL:+with a database}}" >> {log}\nexit {code}\n'
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for variable in ("TEST_POSTGRES_PORT", "TEST_POSTGRES_PASSWORD", "TEST_DATABASE_URL"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    return log


def test_the_docker_tier_removes_its_database_whatever_its_tests_say(calls: Path) -> None:
    assert run_tests._with_database([str(calls.with_name("pytest"))]) == 3

    _, up, tests, down = calls.read_text().splitlines()
    assert up.strip().endswith("docker-compose.test.yml up --detach --wait")
    assert "tests/integration/db" in tests
    assert tests.endswith("with a database")
    assert down.strip().endswith("docker-compose.test.yml down --volumes")


def test_without_an_engine_the_docker_tier_has_no_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert run_tests._with_database(["pytest"]) == run_tests.NO_TESTS
    assert "There is no Docker engine here" in capfd.readouterr().err
