"""Makes the files of a host, and runs commands there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from campaigns.host_kinds.table import Base, Host


_NOBODY: Final = 65_534
_NAMELESS: Final = 15_057
"""User and group id that no machine names."""
_PACKAGES: Final = "python3,python3-venv,git,ca-certificates,tzdata"
_KEPT: Final = ("PATH", "HOME", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")


class HostNotMade(Exception):
    """The files of a host could not be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where this machine gets packages from, which an empty host must be told."""

    environment: dict[str, str]
    folders: tuple[Path, ...]
    """Folders and files that are shown to the host, read-only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The files of a host."""

    root: Path | None
    """Root of its files; None: this machine's."""
    scratch: Path
    """Folder for clones, as this machine sees it."""
    sources: Sources

    @contextmanager
    def clone(self, project: Path, host: Host) -> Iterator[Path]:
        """Clone the project for a host, with a home for its user; remove both afterwards."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            clone, home = Path(folder) / host.folder, Path(folder) / "home"
            home.mkdir()
            # Not linked, because the owner of the clone's files changes.
            subprocess.run(
                ["git", "clone", "--quiet", "--no-hardlinks", str(project), str(clone)], check=True
            )
            if host.as_user:
                user = _user_of(host)
                subprocess.run(["chown", "-R", f"{user}:{user}", folder], check=True)
            if host.installs_first:
                made = self._run(host, clone, ["scripts/bootstrap.py"], 900.0, is_cut_off=False)
                if made.returncode != 0:
                    raise HostNotMade(f"the project is not installed: {made.stderr.strip()[-300:]}")
            yield clone

    def run(
        self, host: Host, clone: Path, words: Sequence[str], limit_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of the clone with the host's interpreter."""
        return self._run(host, clone, words, limit_s, is_cut_off=True)

    def version(self, host: Host) -> str:
        """Return the version of the host's interpreter."""
        command = [self._python(host), "-c", "import platform; print(platform.python_version())"]
        if self.root is not None:
            command = ["chroot", str(self.root), *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def _python(self, host: Host) -> str:
        return "python3" if self.root is not None else interpreter(host.python)

    def _run(
        self, host: Host, clone: Path, words: Sequence[str], limit_s: float, *, is_cut_off: bool
    ) -> subprocess.CompletedProcess[str]:
        inner = Path("/") / clone.relative_to(self.root) if self.root is not None else clone
        command = shlex.join([self._python(host), *words])
        script = "\n".join([f"cd {shlex.quote(str(inner))}", *host.limits, f"exec {command}"])
        number = _user_of(host)
        user = ["setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups"] if host.as_user else []
        shell = [*user, "bash", "-c", script]
        lines = [*(host.before if is_cut_off else ()), *self._mounts()]
        if host.without_network and is_cut_off:
            lines.append("ip link set lo up")
        if host.without_namespaces:
            # The kernel makes no user namespace for a process below a changed root.
            whole = shlex.quote(str(self.scratch / "whole"))
            lines += [f"mkdir -p {whole}", f"mount --rbind / {whole}"]
            shell = ["chroot", str(self.scratch / "whole"), *shell]
        outer = "\n".join(["set -e", *lines, f"exec {shlex.join(shell)}"])
        return subprocess.run(
            [*self._namespaces(host, is_cut_off=is_cut_off), "bash", "-c", outer],
            env=self._environment(host if is_cut_off else None, inner.parent / "home"),
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
        )

    def _namespaces(self, host: Host, *, is_cut_off: bool) -> list[str]:
        if not host.needs_root:
            return []
        wanted = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if host.without_network and is_cut_off:
            wanted.append("--net")
        return wanted

    def _mounts(self) -> list[str]:
        if self.root is None:
            return []
        root = shlex.quote(str(self.root))
        lines = [
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            f"mount -t tmpfs tmpfs {root}/dev/shm",  # noqa: S108 - a mount, not a file
        ]
        for folder in self.sources.folders:
            inner = f"{root}{shlex.quote(str(folder))}"
            make = f"mkdir -p {inner}" if folder.is_dir() else f"mkdir -p $(dirname {inner}) && touch {inner}"
            lines += [make, f"mount --bind -o ro {shlex.quote(str(folder))} {inner}"]
        # Not chroot, below which the kernel makes no user namespaces.
        enter = ["mkdir -p .old", "pivot_root . .old", "umount --lazy /.old"]
        return [f"mount --rbind {root} {root}", *lines, f"cd {root}", *enter]

    def _environment(self, host: Host | None, home: Path) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        values: dict[str, str | None] = {
            **kept,
            **self.sources.environment,
            "HOME": str(home),
            **(host.environment if host is not None else {}),
        }
        if self.root is not None:
            values["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {name: value for name, value in values.items() if value is not None}


def _user_of(host: Host) -> int:
    return _NAMELESS if host.is_nameless else _NOBODY


def interpreter(name: str) -> str:
    """Return the path of an interpreter of this machine, one of pyenv's if there is no other.

    Raises
    ------
    HostNotMade
        If none runs.
    """
    kept = sorted(Path.home().glob(f".pyenv/versions/*/bin/{name}"))
    for candidate in filter(None, [shutil.which(name), *map(str, kept)]):
        asked = [candidate, "-c", "import sys; print(sys.executable)"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    raise HostNotMade(f"there is no {name} here")


@contextmanager
def here(folder: Path) -> Iterator[Place]:
    """Return a place on this machine's own files."""
    yield Place(root=None, scratch=folder, sources=package_sources())


@contextmanager
def debian(base: Base, folder: Path, sources: Sources) -> Iterator[Place]:
    """Make the files of a release of Debian with python3, venv and git, and nothing else.

    Raises
    ------
    HostNotMade
        If mmdebstrap is missing or fails.
    """
    if shutil.which("mmdebstrap") is None:
        raise HostNotMade("mmdebstrap is not installed; on Debian: apt-get install mmdebstrap")
    root = folder / "root"
    command = [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        f"--include={_PACKAGES}",
        base.value,
        str(root),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostNotMade(f"mmdebstrap failed: {done.stderr[-500:]}")
    root.chmod(0o755)
    scratch = root / "srv"
    yield Place(root=root, scratch=scratch, sources=sources)


def package_sources() -> Sources:
    """Return the settings of pip on this machine, and the folders and files that they name."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    settings = dict(line.split("=", 1) for line in listed.splitlines() if "=" in line)
    environment, named = {}, []
    for key, value in settings.items():
        name, text = key.rpartition(".")[2], value.strip("'\"")
        environment["PIP_" + name.upper().replace("-", "_")] = text
        named += [urlsplit(word).path if word.startswith("file:") else word for word in text.split()]
    certificate = os.environ.get("SSL_CERT_FILE")
    folders = [
        Path(word) for word in [*named, *([certificate] if certificate else [])] if word.startswith("/")
    ]
    return Sources(
        environment=environment, folders=tuple(dict.fromkeys(path for path in folders if path.exists()))
    )
