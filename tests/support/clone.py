"""A folder like a fresh clone, whose environment is ready: nothing is installed, and no other folder's code runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import bootstrap

from tests.support.repository import ROOT

_SCRIPTS = ("gaia", "gaia-validator")


def make_clone(folder: Path) -> dict[str, str]:
    """Copy the tracked files into `folder`, and make its environment; return the variables for its programs."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, folder / name
        if not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    _make_environment(folder)
    home, tools = folder.parent / "home", folder.parent / "tools"
    home.mkdir()
    tools.mkdir()
    (tools / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    return {
        "PATH": os.pathsep.join([str(tools), str(folder / ".venv" / "bin"), "/usr/bin", "/bin"]),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(folder),
        "COLUMNS": "120",
    }


def _make_environment(folder: Path) -> None:
    """Make `.venv` of the libraries that these tests run with, as `bootstrap` leaves it."""
    venv, ours = folder / ".venv", Path(sys.prefix)
    (venv / "bin").mkdir(parents=True)
    # A path, not a link: should anything be installed after all, it is installed here.
    packages = Path("lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
    (venv / packages).mkdir(parents=True)
    (venv / packages / "libraries.pth").write_text(f"{ours / packages}\n")
    (venv / "pyvenv.cfg").write_text(
        f"home = {Path(sys.base_prefix) / 'bin'}\ninclude-system-site-packages = false\n"
    )
    for name in ("python", "python3"):
        (venv / "bin" / name).symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    for name in _SCRIPTS:
        body = (ours / "bin" / name).read_text().partition("\n")[2]
        script = venv / "bin" / name
        script.write_text(f"#!{venv / 'bin' / 'python'}\n{body}")
        script.chmod(0o755)
    for part in (bootstrap.RUNTIME_LOCK, bootstrap.PROJECT):
        stamp = bootstrap._stamp(venv, part)
        stamp.write_text(bootstrap._digest(folder, part))
