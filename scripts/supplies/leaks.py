"""Looks for secrets and for traces of a machine in every file that git tracks."""

from __future__ import annotations

import io
import lzma
import re
import socket
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from supplies.locked import ROOT

SHAPES: Final[Mapping[str, re.Pattern[bytes]]] = {
    "private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{16}"),
    "seed of a hotkey": re.compile(rb'"secret(?:Seed|Phrase)"\s*:\s*"(?!\*)[^"<]{12,}"'),
    "access key": re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "token": re.compile(
        rb"\b(?:gh[opsur]_[A-Za-z0-9]{36}|github_pat_\w{22,}|glpat-[\w-]{20}|xox[abprs]-[\w-]{10,}"
        rb"|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{16,}|sk_live_\w{16,})"
    ),
    "signed token": re.compile(rb"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    "webhook": re.compile(
        rb"\bhooks\.slack\.com/services/T\w{6,}/\w{6,}/\w{16,}|/api/webhooks/\d{16,}/[\w-]{40,}"
    ),
    "folder of a person": re.compile(
        rb"(?<![\w.~])(?:/(?:home/(?!gaia\b)|Users/|root/(?!\.\.\.)|var/folders/)|[A-Z]:\\Users\\)[A-Za-z0-9_.-]+"
    ),
    "work folder": re.compile(rb"(?<![\w.~\]-])/(?:work|workspace|builds)/[A-Za-z0-9_.-]+"),
}
"""Kind of a leak -> its shape."""

ALLOWED: Final[Mapping[str, Mapping[str, str]]] = {
    "tests/unit/localnet/test_options.py": {"folder of a person": "an example of a long path"},
    "tests/unit/test_config.py": {"folder of a person": "an example of a home folder"},
}
"""File -> kind of a leak -> why that shape in it is none."""

_LONGEST: Final = 60
_FEWEST_LETTERS: Final = 6
"""Shorter names of machines are words that a text may hold by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """One place that tells what no file may tell."""

    file: str
    line: int
    kind: str
    start: str
    """Its first letters, so that a report repeats no whole secret."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind}: {self.start}"


def tracked_files(root: Path = ROOT) -> list[Path]:
    """Return the files below `root` that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
    return [root / name for name in listed.decode().split("\0") if name and (root / name).is_file()]


def leaks_of_files(root: Path = ROOT) -> list[Leak]:
    """Return the leaks in all tracked files, also inside compressed ones, that `ALLOWED` does not explain."""
    machine = of_this_machine(root)
    files = {path.relative_to(root).as_posix(): path for path in tracked_files(root)}
    return [
        leak
        for name, path in files.items()
        for leak in leaks_in(name, path.read_bytes(), machine)
        if leak.kind not in ALLOWED.get(name, {})
    ]


def leaks_in(name: str, content: bytes, machine: Mapping[str, re.Pattern[bytes]]) -> Iterator[Leak]:
    """Yield the leaks in one file; `machine` adds shapes to `SHAPES`."""
    for inner, text in _unpacked(name, content):
        for kind, shape in {**SHAPES, **machine}.items():
            for hit in shape.finditer(text):
                line = text.count(b"\n", 0, hit.start()) + 1
                start = hit[0][: min(_LONGEST, max(8, len(hit[0]) // 2))].decode("utf-8", "replace")
                yield Leak(file=inner, line=line, kind=kind, start=start.splitlines()[0])


def of_this_machine(root: Path = ROOT) -> dict[str, re.Pattern[bytes]]:
    """Return the shapes that only this machine has: its name, our folder and our home."""
    told = {
        "name of this machine": socket.gethostname(),
        "this folder": str(root),
        "our home": str(Path.home()),
    }
    return {
        kind: re.compile(rb"(?<![\w/.-])" + re.escape(text.encode()) + rb"(?![\w-])")
        for kind, text in told.items()
        if len(text) >= _FEWEST_LETTERS and text != "localhost"
    }


def _unpacked(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of a file, or of what a compressed one holds."""
    if name.endswith(".xz"):
        yield name, lzma.decompress(content)
    elif name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield f"{name}:{member}", archive.read(member)
    else:
        yield name, content
