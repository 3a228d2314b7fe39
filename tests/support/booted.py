"""A host of its own for a test: systemd as the first process in namespaces, on a copy of this machine's files."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.patience import patience
from tests.support.repository import ROOT

_GROUPS = Path("/sys/fs/cgroup")
_PYTHON = Path("/usr/bin/python3")
_VARIABLES = ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
_PROGRAMS = """\
#!/opt/gaia/.venv/bin/python
import sys
from {module} import main
sys.exit(main())
"""
_STAMPS = """\
import sys
sys.path.insert(0, "/opt/gaia/scripts")
import bootstrap
for part in (bootstrap.RUNTIME_LOCK, bootstrap.PROJECT):
    bootstrap._stamp(bootstrap.ROOT / ".venv", part).write_text(bootstrap._digest(bootstrap.ROOT, part))
"""
"""What an installation leaves, so that the installer has nothing to download."""


@dataclass(frozen=True)
class Host:
    """A running host."""

    init: int
    """Its first process, as this machine numbers it."""

    def run(self, *command: str, given: str = "", codes: Sequence[int] = (0,)) -> str:
        """Run a command there as root; return its output."""
        inside = ["nsenter", "-t", str(self.init), "-m", "-p", "-i", "-u", "-C", "env", "-i", *_VARIABLES]
        done = subprocess.run(
            [*inside, *command], input=given, capture_output=True, text=True, timeout=patience(120)
        )
        assert done.returncode in codes, f"{command}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file there; its mode stays, and a new one has 0644."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$0")" && cat > "$0"', path, given=text)

    def state(self, unit: str) -> tuple[str, str, str]:
        """Return state, result and exit status of a unit."""
        shown = self.run("systemctl", "show", "-p", "SubState,Result,ExecMainStatus", unit)
        said = dict(line.split("=", 1) for line in shown.splitlines())
        return said["SubState"], said["Result"], said["ExecMainStatus"]

    def journal(self, unit: str) -> str:
        """Return what a unit wrote, for the message of a test that fails."""
        return self.run("journalctl", "-u", unit, "-o", "cat", "-n", "60", "--no-pager")

    def wait(self, unit: str, is_there: Callable[[tuple[str, str, str]], bool], seconds: float) -> None:
        """Wait until the state of a unit is the wanted one."""
        end = time.monotonic() + patience(seconds)
        while not is_there(state := self.state(unit)):
            assert time.monotonic() < end, f"{unit} is {state}:\n{self.journal(unit)}"
            time.sleep(0.2)


@contextmanager
def booted(folder: Path) -> Iterator[Host]:
    """Boot, until the body ends; skip the test where nobody can."""
    _require()
    folder.mkdir()
    groups = _make_groups(f"gaia-tests-{os.getpid()}")
    packages = sysconfig.get_paths()["purelib"]
    command = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child"]
    parent = subprocess.Popen(
        [*command, ROOT / "tests" / "support" / "boot.sh", folder, ROOT, Path(packages).resolve()],
        preexec_fn=lambda: _enter(groups),  # noqa: PLW1509 - the boot must begin in its own group
        stdin=subprocess.DEVNULL,
    )
    try:
        host = Host(_child_of(parent))
        _wait_until_up(host)
        _complete(host)
        yield host
    finally:
        parent.kill()
        parent.wait()
        _remove(groups)


def _require() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root boots a host")
    for program in ("/lib/systemd/systemd", "/usr/bin/unshare", "/usr/bin/dbus-daemon"):
        if not Path(program).exists():
            pytest.skip(f"{program} is missing")
    asked = "import sys, venv; print(*sys.version_info[:2])"
    told = subprocess.run([_PYTHON, "-c", asked], capture_output=True, text=True, check=False).stdout.split()
    if told != [str(part) for part in sys.version_info[:2]]:
        pytest.skip(f"{_PYTHON} is no Python for the libraries of the tests")


def _make_groups(name: str) -> list[Path]:
    """Make the control groups of the host; return them."""
    is_unified = (_GROUPS / "cgroup.controllers").exists()
    roots = [_GROUPS] if is_unified else [_GROUPS / "unified", _GROUPS / "systemd"]
    groups = [root / name for root in roots if root.is_dir()]
    for group in groups:
        group.mkdir()
    return groups


def _enter(groups: Sequence[Path]) -> None:
    for group in groups:
        (group / "cgroup.procs").write_text(str(os.getpid()))


def _remove(groups: Sequence[Path]) -> None:
    """Remove the groups once their last process has gone."""
    end = time.monotonic() + patience(10)
    for group in groups:
        while group.exists():
            for inner, _, _ in sorted(os.walk(group), key=lambda each: -len(each[0])):
                try:
                    os.rmdir(inner)
                except OSError:
                    # A killed process takes a moment to leave its group.
                    assert time.monotonic() < end, f"{inner} still has processes"
                    time.sleep(0.05)
                    break


def _child_of(parent: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + patience(30)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    while not (found := children.read_text().split()):
        assert parent.poll() is None, "the boot failed"
        assert time.monotonic() < end, "no first process"
        time.sleep(0.05)
    return int(found[0])


def _wait_until_up(host: Host) -> None:
    end = time.monotonic() + patience(60)
    while Path(f"/proc/{host.init}/comm").read_text().strip() != "systemd":
        assert time.monotonic() < end, "systemd did not start"
        time.sleep(0.1)
    while host.run("systemctl", "is-system-running", codes=range(256)).strip() != "running":
        assert time.monotonic() < end, host.run("systemctl", "--failed", "--no-pager")
        time.sleep(0.1)


def _complete(host: Host) -> None:
    """Add what an installation of the libraries would have left."""
    for name, module in (("gaia", "gaia.cli.__main__"), ("gaia-validator", "gaia.validator.validator")):
        path = f"/opt/gaia/.venv/bin/{name}"
        host.write(path, _PROGRAMS.format(module=module))
        host.run("chmod", "755", path)
    host.run("/opt/gaia/.venv/bin/python", "-", given=_STAMPS)
