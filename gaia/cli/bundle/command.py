"""The command debug bundle: everything that explains a problem, in one file without secrets."""

from __future__ import annotations

import argparse
import io
import os
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.arguments import NotWritten
from gaia.cli.bundle.parts import parts_of
from gaia.cli.bundle.redaction import Redactor
from gaia.cli.logs.command import folder_of
from gaia.cli.select import NotThere
from gaia.cli.source import open_source
from gaia.cli.status.observing import observe
from gaia.validator.app.startup.reading import read_settings
from gaia.validator.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from gaia.cli.source import Source

PART_BYTES = 1024 * 1024
WHOLE_BYTES = 16 * 1024 * 1024
"""Size of all parts before compression; what comes later is left out and named."""


def bundle(arguments: argparse.Namespace) -> int:
    """Write the bundle; parts that cannot be made are named in it."""
    source = open_source(arguments.state, arguments.env_file)
    made = datetime.now(UTC)
    name = f"gaia-debug-{made:%Y%m%dT%H%M%SZ}"
    path: Path = arguments.output or Path(f"{name}.tar.gz")
    members, problems = members_of(source)
    try:
        _write(path, name, members)
    except OSError as error:
        raise NotWritten(f"{path} cannot be written: {error.strerror or error}") from error
    size = path.stat().st_size
    if arguments.json:
        tables.print_json({"file": str(path), "bytes": size, "parts": sorted(members), "problems": problems})
    else:
        tables.print_lines(
            f"{path}: {tables.counted(len(members), 'part')}, {size / 1024:.0f} KiB",
            *(f"without {problem}" for problem in problems),
        )
    return 0


def members_of(source: Source) -> tuple[dict[str, bytes], list[str]]:
    """Return name -> content of the members, and a sentence for each part that is missing or cut."""
    problems: list[str] = []
    redactor = Redactor([*source.settings.secrets(), *_secrets_here(problems)])
    try:
        folder = folder_of(source)
    except NotThere as error:
        folder = None
        problems.append(f"logs: {error}")
    members: dict[str, bytes] = {}
    left = WHOLE_BYTES
    facts = observe(source, may_start_database=False)
    for name, make in parts_of(source, facts, folder):
        try:
            content = redactor.clean(make()).encode()
        except Exception as error:  # noqa: BLE001 - a bundle is made when something is broken, and every part counts
            problems.append(redactor.clean(f"{name}: {type(error).__name__}: {error}"))
            continue
        if len(content) > PART_BYTES:
            problems.append(f"the beginning of {name}, of which {len(content)} bytes are too many")
            content = content[-PART_BYTES:]
        if len(content) > left:
            problems.append(f"{name}: the bundle is full")
            continue
        left -= len(content)
        members[name] = content
    if problems:
        members["problems.txt"] = ("\n".join(problems) + "\n").encode()
    return members, problems


def _secrets_here(problems: list[str]) -> list[str]:
    """Return the secrets of the environment and of `.env`, because those of a running validator are not published."""
    try:
        return list(read_settings().secrets())
    except ConfigurationError as error:
        problems.append(f"certainty that no secret is inside: {error.setting} cannot be read here")
        return []


def _write(path: Path, folder: str, members: dict[str, bytes]) -> None:
    """Write the archive, readable by this user alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        os.fchmod(file.fileno(), 0o600)
        for name, content in members.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(content))
