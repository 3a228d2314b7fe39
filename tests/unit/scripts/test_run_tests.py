"""The test runner: which tiers run with what, what is checked first, and what is said at the end."""

from __future__ import annotations

import sys
from pathlib import Path

import bootstrap
import pytest
import run_tests
from supplies import requirements_met

from tests.support.repository import ROOT


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Commands of run_tests.py that would have run, in a project with unit and integration tests."""
    for tier in ("unit", "integration"):
        (tmp_path / "tests" / tier).mkdir(parents=True)
        (tmp_path / "tests" / tier / "test_it.py").touch()
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -rs --cov-fail-under=83\n")
    seen: list[str] = []

    def note(command: list[str]) -> int:
        if command[1].endswith("requirements_met.py"):
            return 0
        seen.append(" ".join(command[1:]).replace(f"{tmp_path}/", ""))
        return 0

    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "ensure_environment", lambda locks: Path("/venv/bin/python"))
    monkeypatch.setattr(run_tests, "_run", note)
    return seen


def test_without_a_flag_unit_and_integration_run_and_coverage_is_judged(commands: list[str]) -> None:
    assert run_tests.main(["--workers", "2"]) == 0

    assert commands == [
        "-m coverage erase",
        "-m coverage run -m pytest tests/unit -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 2",
        "-m coverage run -m pytest tests/integration -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 2",
        "-m coverage combine --quiet",
        "-m coverage html --quiet",
        "-m coverage xml --quiet",
        "-m coverage report --fail-under=83",
    ]


def test_one_tier_runs_without_coverage_and_hands_on_the_rest(commands: list[str]) -> None:
    assert run_tests.main(["--unit", "-k", "clock"]) == 0

    assert commands == ["-m pytest tests/unit -k clock"]


def test_one_worker_runs_tests_one_after_the_other(commands: list[str]) -> None:
    assert run_tests.main(["--unit", "--workers", "1"]) == 0

    assert commands == ["-m pytest tests/unit"]


def test_tier_without_tests_says_so_and_ends_with_5(
    commands: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tests.main(["--soak"]) == 5

    assert commands == []
    assert capsys.readouterr().err == "The soak tier has no tests yet.\n"


def test_all_goes_on_without_a_tier_that_has_no_tests(
    commands: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tests.main(["--all"]) == 0

    assert "The docker tier has no tests yet." in capsys.readouterr().err
    assert commands[-1] == "-m coverage report --fail-under=83"


def test_failed_tier_fails_the_whole_and_skips_the_report(
    commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str]) -> int:
        commands.append(command[-1])
        return 1 if "pytest" in command else 0

    monkeypatch.setattr(run_tests, "_run", fail)

    assert run_tests.main([]) == 1

    assert "--fail-under=83" not in commands


def test_tier_that_a_signal_ended_is_named_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tests" / "unit"
    folder.mkdir(parents=True)
    (folder / "test_it.py").write_text(
        "import os, signal\ndef test_it():\n    signal.signal(2, signal.SIG_DFL)\n    os.kill(os.getpid(), 2)\n"
    )
    for lock in (bootstrap.RUNTIME_LOCK, bootstrap.DEVELOPMENT_LOCK):
        (tmp_path / lock).parent.mkdir(exist_ok=True)
        (tmp_path / lock).touch()
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "ensure_environment", lambda locks: Path(sys.executable))

    code = run_tests.main(["--unit", "--workers", "1"])

    assert code == 128 + 2
    sentence = (
        "The unit tier was ended by signal 2 (SIGINT) before its last test; the tests that ran are above.\n"
    )
    assert capfd.readouterr().err == sentence


def test_tiers_are_listed_with_their_time_at_the_end(
    commands: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run_tests.main(["--all"])

    said = capsys.readouterr().out.partition("== tiers ==\n")[2]
    assert [line.split()[0] for line in said.splitlines()] == list(run_tests.TIERS)
    assert [line.split("s  ")[1] for line in said.splitlines()] == ["passed"] * 2 + ["not run"] * 3


def test_benchmarks_are_kept_and_shown_beside_the_last_ones(commands: list[str], tmp_path: Path) -> None:
    (tmp_path / "tests" / "performance").mkdir()
    (tmp_path / "tests" / "performance" / "test_it.py").touch()

    run_tests.main(["--performance"])
    (tmp_path / ".benchmarks" / "machine").mkdir(parents=True)
    (tmp_path / ".benchmarks" / "machine" / "0001.json").touch()
    run_tests.main(["--performance"])

    tolerant = "-W default::pytest_benchmark.logger.PytestBenchmarkWarning"
    assert [command.partition("performance")[2] for command in commands] == [
        f" --benchmark-autosave {tolerant}",
        f" --benchmark-autosave {tolerant} --benchmark-compare",
    ]


def test_bar_of_coverage_is_that_of_pytest_ini() -> None:
    assert run_tests.coverage_wanted() >= 90


def test_environment_that_lacks_a_package_runs_no_test(
    commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_tests, "_run", lambda command: int(command[1].endswith("requirements_met.py")))

    assert run_tests.main(["--unit"]) == 1


def test_requirements_are_met_here_and_what_is_not_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text(
        "pytest==0.1 \\\n    --hash=sha256:00\nno-such-package==1.0\n"
        "for-windows==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
    )

    assert requirements_met.main([str(ROOT / bootstrap.DEVELOPMENT_LOCK)]) == 0
    assert requirements_met.main([str(lock)]) == 1
    older, missing = capsys.readouterr().err.splitlines()
    assert older.startswith("pytest is ")
    assert older.endswith("and the lock wants 0.1; delete .venv, and start again.")
    assert missing == "no-such-package 1.0 is not installed; delete .venv, and start again."
