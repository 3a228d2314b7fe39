"""Installs the pinned packages of web/ in a folder of its own, and runs the program that takes the pictures."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from monitored.programs import ProgramFailed

WEB: Final = Path(__file__).resolve().parent / "web"
FILES: Final = ("package.json", "package-lock.json", "board.tsx", "take.mjs")
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# As root Chromium has no sandbox; it draws nothing here but pages of ours. The others keep it from the network.
ARGUMENTS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--force-color-profile=srgb"),
)
_INSTALL: Final = ("ci", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund")
_INSTALL_S: Final = 1200.0
_TAIL: Final = 3000


def install(folder: Path) -> None:
    """Install the packages of the lock in `folder`, unless it has them already.

    Raises
    ------
    ProgramFailed
        If npm is missing or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = (WEB / "package-lock.json").read_bytes()
    has_lock = (folder / "installed.json").exists() and (folder / "installed.json").read_bytes() == lock
    for name in FILES:
        shutil.copyfile(WEB / name, folder / name)
    if not has_lock:
        _run([_found(("npm",), "npm"), *_INSTALL], folder, _INSTALL_S)
        (folder / "installed.json").write_bytes(lock)


def take(modules: Path, folder: Path, job: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Take the pictures of a job into `folder`/taken; return what was found."""
    (folder / "job.json").write_text(json.dumps({**job, "arguments": ARGUMENTS}))
    browser = _found(BROWSERS, "chromium")
    _run([_found(("node",), "nodejs"), "take.mjs", str(folder.resolve()), browser], modules, seconds)
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


def _found(names: Sequence[str], package: str) -> str:
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        raise ProgramFailed(
            f"{names[0]} is missing; on Debian or Ubuntu: apt-get install --no-install-recommends {package}"
        )
    return path


def _run(command: Sequence[str], folder: Path, seconds: float) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramFailed(f"{command[0]} did not end in {seconds:g} s") from error
    if done.returncode:
        said = (done.stdout + done.stderr)[-_TAIL:]
        raise ProgramFailed(f"{' '.join(command[:2])} failed with {done.returncode}:\n{said}")
