"""The first start on a bare machine: what is installed when, and what is said when it cannot be."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import bootstrap
import pytest
import run

from tests.support.repository import ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with its locks, in which making the environment and installing are only noted down."""
    _write_project(tmp_path)

    def make(venv: Path) -> None:
        python = venv / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    def install(python: Path, root: Path, lock: str) -> None:
        with (root / "installed").open("a") as notes:
            notes.write(lock + "\n")

    def install_project(python: Path, root: Path) -> bool:
        install(python, root, bootstrap.PROJECT)
        python.with_name("gaia").touch()
        return True

    monkeypatch.setattr(bootstrap, "_make_venv", make)
    monkeypatch.setattr(bootstrap, "_install", install)
    monkeypatch.setattr(bootstrap, "_install_project", install_project)
    return tmp_path


def _write_project(folder: Path) -> None:
    (folder / "requirements").mkdir(parents=True)
    for lock in (bootstrap.RUNTIME_LOCK, bootstrap.DEVELOPMENT_LOCK, bootstrap.BUILD_LOCK):
        (folder / lock).write_text("a==1\n")
    (folder / "pyproject.toml").write_text("[project]\nname = 'it'\n[tool.setuptools]\n")


def _installed(project: Path) -> list[str]:
    """Return the locks that were installed, in order."""
    return [line for line in _notes(project) if line != bootstrap.PROJECT]


def _project_installations(project: Path) -> int:
    return _notes(project).count(bootstrap.PROJECT)


def _notes(project: Path) -> list[str]:
    notes = project / "installed"
    return notes.read_text().splitlines() if notes.exists() else []


def test_second_start_installs_nothing(project: Path) -> None:
    for _ in range(2):
        python = bootstrap.ensure_environment(root=project)

    assert python == project / ".venv" / "bin" / "python"
    assert _installed(project) == [bootstrap.RUNTIME_LOCK]


def test_changed_lock_is_installed_again(project: Path) -> None:
    bootstrap.ensure_environment(root=project)
    (project / bootstrap.RUNTIME_LOCK).write_text("a==2\n")

    bootstrap.ensure_environment(root=project)

    assert _installed(project) == [bootstrap.RUNTIME_LOCK] * 2


def test_lock_that_is_asked_for_later_is_added(project: Path) -> None:
    bootstrap.ensure_environment(root=project)

    bootstrap.ensure_environment([bootstrap.RUNTIME_LOCK, bootstrap.DEVELOPMENT_LOCK], root=project)

    assert _installed(project) == [bootstrap.RUNTIME_LOCK, bootstrap.DEVELOPMENT_LOCK]


def test_project_itself_is_installed_once(project: Path) -> None:
    for _ in range(2):
        bootstrap.ensure_environment(root=project)

    assert _project_installations(project) == 1


def test_project_whose_commands_changed_is_installed_again(project: Path) -> None:
    bootstrap.ensure_environment(root=project)
    with (project / "pyproject.toml").open("a") as file:
        file.write("[project.scripts]\ngaia = 'x:y'\n")

    bootstrap.ensure_environment(root=project)

    assert _project_installations(project) == 2
    assert _installed(project) == [bootstrap.RUNTIME_LOCK]


def test_command_that_is_gone_is_installed_again(project: Path) -> None:
    bootstrap.ensure_environment(root=project)
    (project / ".venv" / "bin" / "gaia").unlink()

    bootstrap.ensure_environment(root=project)

    assert _project_installations(project) == 2


def test_environment_of_another_folder_is_told_and_left_as_it_is(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap.ensure_environment(root=project)
    worktree = tmp_path / "worktree"
    _write_project(worktree)
    (worktree / ".venv").symlink_to(project / ".venv")

    bootstrap.ensure_environment(root=worktree)

    assert _notes(worktree) == []
    assert f".venv is a link to {project / '.venv'}, so its commands run that folder's code" in (
        capsys.readouterr().err
    )


@pytest.mark.slow
def test_environment_of_a_path_that_is_not_here_is_kept_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A container may see the folder of a running validator under another path."""
    before, after = tmp_path / "before" / ".venv", tmp_path / "after" / ".venv"
    bootstrap._make_venv(before)
    after.parent.mkdir()
    before.rename(after)

    with pytest.raises(SystemExit):
        bootstrap._make_venv(after)

    assert f".venv was made as {before}" in capsys.readouterr().err
    assert (after / "bin" / "python").exists()


@pytest.mark.slow
def test_copy_of_an_environment_is_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original, copy = tmp_path / "original" / ".venv", tmp_path / "copy" / ".venv"
    bootstrap._make_venv(original)
    shutil.copytree(original, copy, symlinks=True)

    bootstrap._make_venv(copy)

    assert f".venv is a copy of {original}" in capsys.readouterr().err
    assert bootstrap._made_as(copy) == copy


@pytest.mark.slow
def test_environment_is_kept_whatever_link_leads_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    bootstrap._make_venv(folder / ".venv")
    link.symlink_to(folder)
    capsys.readouterr()

    bootstrap._make_venv(link / ".venv")

    assert capsys.readouterr().err == ""


def test_commands_that_cannot_be_installed_stop_nobody_and_are_tried_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as offline:
        offline.setattr(bootstrap, "_install_project", lambda python, root: False)
        python = bootstrap.ensure_environment(root=project)

    bootstrap.ensure_environment(root=project)

    assert python == project / ".venv" / "bin" / "python"
    assert _project_installations(project) == 1


def test_installation_says_how_much_it_is(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = project / bootstrap.RUNTIME_LOCK
    lock.write_text("# made by a program\na==1 \\\n    --hash=sha256:00==\nb[c]==2\n    # via a\n")

    bootstrap.ensure_environment(root=project)

    assert f"Installing 2 packages ({bootstrap.RUNTIME_LOCK}) into .venv" in capsys.readouterr().err


def test_installation_that_failed_is_tried_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        sys.exit(1)

    with monkeypatch.context() as broken:
        broken.setattr(bootstrap, "_install", fail)
        with pytest.raises(SystemExit):
            bootstrap.ensure_environment(root=project)

    bootstrap.ensure_environment(root=project)

    assert _installed(project) == [bootstrap.RUNTIME_LOCK]


def test_old_python_is_told_which_one_is_needed(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "OLDEST_PYTHON", (99, 0))

    with pytest.raises(SystemExit):
        bootstrap.ensure_environment(root=project)

    assert capsys.readouterr().err.startswith("Python 99.0 or newer is needed; this is 3.")


def test_missing_venv_module_is_told_with_the_command_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_project(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ensurepip" else name)

    with pytest.raises(SystemExit):
        bootstrap.ensure_environment(root=tmp_path)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"apt-get install -y python{version}-venv" in capsys.readouterr().err
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("script", ["run.py", "run_tests.py"])
def test_help_needs_no_environment(script: str, tmp_path: Path) -> None:
    for name in (script, "bootstrap.py"):
        (tmp_path / name).write_text((ROOT / "scripts" / name).read_text())

    program = (
        "import runpy, sys; sys.path.insert(0, '.');"
        f"sys.argv = ['{script}', '--help']; runpy.run_path('{script}', run_name='__main__')"
    )
    bare = [sys.executable, "-I", "-S", "-c", program]

    done = subprocess.run(bare, capture_output=True, text=True, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: scripts/{script}")


def test_run_becomes_the_local_subnet_with_the_arguments_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[list[str], str]] = []
    monkeypatch.setattr(bootstrap, "ensure_environment", lambda: Path("/venv/bin/python"))
    monkeypatch.setattr(
        "os.execve", lambda path, words, environment: calls.append((words, environment["PYTHONPATH"]))
    )
    monkeypatch.delenv("PYTHONPATH", raising=False)

    run.main(["--once", "--miners", "12", "--new-option", "x"])

    words = ["/venv/bin/python", "-m", "gaia.localnet", "--once", "--miners", "12", "--new-option", "x"]
    assert calls == [(words, str(bootstrap.ROOT))]


def test_help_names_the_options_that_the_local_subnet_has() -> None:
    from gaia.localnet.__main__ import _parser

    def options(parser: argparse.ArgumentParser) -> dict[str, str | None]:
        return {action.option_strings[-1]: action.help for action in parser._actions}

    assert options(run.parser()) == options(_parser())
