"""Makes `.venv`, and installs the locks and this project into it; standard library only."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)
RUNTIME_LOCK = "requirements/runtime.lock"
DEVELOPMENT_LOCK = "requirements/dev.lock"
BUILD_LOCK = "requirements/build.lock"
INSTALLER_LOCK = "requirements/installer.lock"
PROJECT = "this project"
SPEAK_EVERY_S = 10.0
"""Seconds of silence after which a person would think that the program hangs."""


def ensure_environment(locks: Sequence[str] = (RUNTIME_LOCK,), root: Path = ROOT) -> Path:
    """Install all `locks` and the project into `root`/.venv; return its interpreter.

    Without changes it costs one hash per lock. It reports its actions on standard error, and ends
    the program with one sentence if it fails.
    """
    if sys.version_info < OLDEST_PYTHON:
        _give_up(
            f"Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer is needed; this is {sys.version.split()[0]}."
        )
    venv = root / ".venv"
    python = venv / "bin" / "python"
    if python.exists() and all(_is_installed(venv, root, part) for part in (*locks, PROJECT)):
        return python
    with _alone(root / ".venv.lock"):
        _make_venv(venv)
        for lock in locks:
            if not _is_installed(venv, root, lock):
                _say(f"Installing {_packages_of(root / lock)} packages ({lock}) into .venv ...")
                _install(python, root, lock)
                _stamp(venv, lock).write_text(_digest(root, lock))
        if venv.is_symlink():
            _say(
                f".venv is a link to {venv.resolve()}, so its commands run that folder's code, not this one's."
            )
        elif not _is_installed(venv, root, PROJECT) and _install_project(python, root):
            _stamp(venv, PROJECT).write_text(_digest(root, PROJECT))
    return python


def _is_installed(venv: Path, root: Path, part: str) -> bool:
    try:
        stamped = _stamp(venv, part).read_text() == _digest(root, part)
    except OSError:
        return False
    return stamped and (part != PROJECT or (venv / "bin" / "gaia").exists())


def _stamp(venv: Path, part: str) -> Path:
    return venv / f".installed-{Path(part).name.replace(' ', '-')}"


def _digest(root: Path, part: str) -> str:
    return hashlib.sha256(_facts_of(root) if part == PROJECT else (root / part).read_bytes()).hexdigest()


def _facts_of(root: Path) -> bytes:
    """Return the data that an installation depends on: folder, commands and packages."""
    import tomllib  # An older Python lacks it, and is rejected later.

    stated = tomllib.loads((root / "pyproject.toml").read_text())
    build = (root / BUILD_LOCK).read_text()
    return json.dumps([str(root), stated["project"], stated["tool"]["setuptools"], build]).encode()


def _make_venv(venv: Path) -> None:
    original = _made_as(venv)
    if original is not None and not original.exists():
        # It may be the same folder under the path of another machine or container, where programs run from it.
        _give_up(
            f".venv was made as {original}, and its commands call that path."
            " Start from there, or remove .venv if nothing runs from it."
        )
    if original is not None and not original.samefile(venv):
        _say(f".venv is a copy of {original}, whose commands it would go on calling; it is made anew.")
    elif _works(venv / "bin" / "python"):
        return
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        _give_up(_how_to_get_venv(missing[0]))
    _say("Creating .venv ...")
    shutil.rmtree(venv, ignore_errors=True)
    made = call(
        [sys.executable, "-m", "venv", str(venv)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if made.returncode != 0:
        shutil.rmtree(venv, ignore_errors=True)
        _give_up(f"{_how_to_get_venv('venv')} It said: {made.stdout.strip()[-400:]}")


def _made_as(venv: Path) -> Path | None:
    """Return the path under which `venv` was made, which its commands use; None if it is unknown."""
    try:
        lines = (venv / "pyvenv.cfg").read_text().splitlines()
    except OSError:
        return None
    made_by = [line for line in lines if line.startswith("command = ")]
    return Path(made_by[0].partition(" -m venv ")[2]) if made_by and " -m venv " in made_by[0] else None


def _works(python: Path) -> bool:
    """Return whether the interpreter starts and has pip, which an upgrade of its base can break."""
    if not python.exists():
        return False
    tried = subprocess.run([python, "-c", "import pip"], capture_output=True, check=False)
    return tried.returncode == 0


def _how_to_get_venv(module: str) -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"This Python cannot make a virtual environment ({module} does not work);"
        f" on Debian or Ubuntu run: apt-get install -y python{version}-venv"
    )


def _install(python: Path, root: Path, lock: str) -> None:
    """Install one lock; check every file by its hash."""
    if not _uv(python).exists():
        wanted = ["install", "--quiet", "--require-hashes", "-r", str(root / INSTALLER_LOCK)]
        call([*_pip(python), *wanted], stdout=sys.stderr)
    if not _run(python, ["--require-hashes", "-r", str(root / lock)]):
        _give_up(
            f"{lock} could not be installed; see above, then try again: what is installed already is kept."
        )


def _install_project(python: Path, root: Path) -> bool:
    """Install `root` in place, so that .venv/bin has its commands and every folder finds its code.

    The build library comes from a lock, and nothing else is downloaded. Otherwise pip would download
    the newest one without a check. Only these commands need it, so a failure does not end the program.
    """
    _say(f"Installing {PROJECT} into .venv ...")
    done = _run(python, ["--require-hashes", "-r", str(root / BUILD_LOCK)]) and _run(
        python, ["--no-deps", "--no-build-isolation", "--no-index", "--editable", str(root)]
    )
    if not done:
        _say(
            "The commands gaia, gaia-validator and gaia-miner could not be installed; the next start tries again."
        )
    return done


def _run(python: Path, wanted: Sequence[str]) -> bool:
    """Install with uv, or with pip if uv is not available; return whether that succeeded."""
    install = ["install", "--quiet", *wanted]
    commands = [[*_pip(python), *install]]
    if _uv(python).exists():
        commands.insert(0, [str(_uv(python)), "pip", *install, "--python", str(python)])
    return any(call(command, stdout=sys.stderr, env=_environment()).returncode == 0 for command in commands)


def call(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a command to its end; while it is silent, say every few seconds that it goes on."""
    began = time.monotonic()
    with subprocess.Popen(command, **options) as process:
        try:
            while True:
                try:
                    written, _ = process.communicate(timeout=SPEAK_EVERY_S)
                    return subprocess.CompletedProcess(command, process.returncode, written)
                except subprocess.TimeoutExpired:
                    _say(f"... still at it after {time.monotonic() - began:.0f} s")
        except BaseException:
            process.kill()
            raise


def _packages_of(lock: Path) -> int:
    """Return how many packages a lock pins."""
    return sum("==" in line and not line[:1].isspace() for line in lock.read_text().splitlines())


def _uv(python: Path) -> Path:
    return python.with_name("uv")


def _pip(python: Path) -> list[str]:
    return [str(python), "-m", "pip", "--disable-pip-version-check"]


def _environment() -> dict[str, str]:
    # Otherwise uv warns about, or installs into, an environment that is active in the shell.
    return {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of `.venv`, so that only one start changes it at a time."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _give_up(text: str) -> NoReturn:
    _say(text)
    sys.exit(1)


if __name__ == "__main__":
    ensure_environment([RUNTIME_LOCK, DEVELOPMENT_LOCK] if "--dev" in sys.argv[1:] else [RUNTIME_LOCK])
