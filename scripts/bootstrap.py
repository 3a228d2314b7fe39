"""Makes `.venv` and installs what the lock files name; standard library only."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)
RUNTIME_LOCK = "requirements.lock"
DEVELOPMENT_LOCK = "requirements-dev.lock"
INSTALLER_LOCK = "requirements-uv.lock"


def ensure_environment(locks: Sequence[str] = (RUNTIME_LOCK,), root: Path = ROOT) -> Path:
    """Return the interpreter of `root`/.venv, in which all `locks` are installed.

    Costs one hash per lock when nothing has changed. Says on standard error what it
    does, and ends the program with one sentence when it cannot.
    """
    if sys.version_info < OLDEST_PYTHON:
        _give_up(
            f"Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer is needed; this is {sys.version.split()[0]}."
        )
    venv = root / ".venv"
    python = venv / "bin" / "python"
    if python.exists() and all(_is_installed(venv, root / lock) for lock in locks):
        return python
    with _alone(root / ".venv.lock"):
        _make_venv(venv)
        for lock in locks:
            if not _is_installed(venv, root / lock):
                _say(f"Installing {lock} into .venv ...")
                _install(python, root, lock)
                _stamp(venv, root / lock).write_text(_digest(root / lock))
    return python


def _is_installed(venv: Path, lock: Path) -> bool:
    try:
        return _stamp(venv, lock).read_text() == _digest(lock)
    except OSError:
        return False


def _stamp(venv: Path, lock: Path) -> Path:
    return venv / f".installed-{lock.name}"


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _make_venv(venv: Path) -> None:
    if _works(venv / "bin" / "python"):
        return
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        _give_up(_how_to_get_venv(missing[0]))
    _say("Creating .venv ...")
    shutil.rmtree(venv, ignore_errors=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        shutil.rmtree(venv, ignore_errors=True)
        _give_up(f"{_how_to_get_venv('venv')} It said: {(made.stdout + made.stderr).strip()[-400:]}")


def _works(python: Path) -> bool:
    """True if the interpreter starts and has pip: a base that was upgraded away leaves neither."""
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
    """Install one lock with uv, or with pip where uv cannot be had; every file is checked by its hash."""
    arguments = ["install", "--quiet", "--require-hashes", "-r", str(root / lock)]
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    uv = python.with_name("uv")
    if not uv.exists():
        wanted = ["install", "--quiet", "--require-hashes", "-r", str(root / INSTALLER_LOCK)]
        subprocess.run([*pip, *wanted], check=False, stdout=sys.stderr)
    commands = [[str(uv), "pip", *arguments, "--python", str(python)]] if uv.exists() else []
    commands.append([*pip, *arguments])
    for command in commands:
        if subprocess.run(command, check=False, stdout=sys.stderr, env=_environment()).returncode == 0:
            return
    _give_up(f"{lock} could not be installed; see above, then try again: what is installed already is kept.")


def _environment() -> dict[str, str]:
    # uv would otherwise warn about, or install into, an environment that is active in the shell.
    return {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one start at a time work on `.venv`."""
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
