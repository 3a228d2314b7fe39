"""Runs pg_dump and pg_restore: a version that fits the server, no password in the list of processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import SubprocessError
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from gaia.validator.utils.errors import ConfigurationError, ExitCode, OwnFailure
from gaia.validator.utils.machine.parent_death import die_with_parent
from gaia.validator.utils.machine.postgres_programs import folders_with, major_of

DUMP, RESTORE = "pg_dump", "pg_restore"

_LONGEST: Final = 300
_NICENESS: Final = 10
"""The programs give way to the validator, which uses the same cores."""
_GIVEN: Final = ("PATH", "HOME")


class BackupFailed(OwnFailure):
    """A backup could not be made, read or restored."""


class Address(NamedTuple):
    """Address of a database without its password."""

    url: str
    password: str
    """"": none is needed, or it stands in a file that libpq reads."""


def address_of(dsn: str) -> Address:
    """Return the address of a URL without its password.

    >>> address_of("postgresql://gaia:se%40cret@db.example:5433/validator?sslmode=require")
    Address(url='postgresql://gaia@db.example:5433/validator?sslmode=require', password='se@cret')
    """
    parts = urlsplit(dsn)
    credentials, at, host = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    query = parse_qsl(parts.query, keep_blank_values=True)
    in_query = dict(query).get("password", "")
    kept = urlencode([pair for pair in query if pair[0] != "password"], safe="/", quote_via=quote)
    url = urlunsplit(parts._replace(netloc=f"{user}{at}{host}", query=kept))
    return Address(url, unquote(password) or in_query)


def named(dsn: str, database: str) -> str:
    """Return the URL of another database on the same server.

    >>> named("postgresql://postgres@/postgres?host=/run/db", "restored")
    'postgresql://postgres@/restored?host=/run/db'
    """
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{quote(database, safe='')}"))


def database_in(dsn: str) -> str:
    """Return the name of the database in a URL, which by default is that of the role.

    >>> database_in("postgresql://gaia@db.example/validator?sslmode=require"), database_in("postgresql://gaia@db.example")
    ('validator', 'gaia')
    """
    parts = urlsplit(dsn)
    return unquote(parts.path.removeprefix("/")) or parts.username or "postgres"


def clients_for(server_major: int) -> Path:
    """Return the folder with the oldest pg_dump and pg_restore that can serve a server of this major version.

    Raises
    ------
    ConfigurationError
        If none is installed.
    """
    majors = {folder: major_of(folder / DUMP) for folder in folders_with(DUMP, RESTORE)}
    fitting = [
        (major, folder) for folder, major in majors.items() if major is not None and major >= server_major
    ]
    if not fitting:
        raise ConfigurationError(
            "PG_BINDIR",
            f"no pg_dump of PostgreSQL {server_major} or later is found",
            f"install the package postgresql-client-{server_major}, or name the folder of its programs",
            ExitCode.DATABASE_UNREACHABLE,
        )
    return min(fitting, key=lambda found: found[0])[1]


async def run_program(program: Path, dsn: str, *arguments: str | Path) -> None:
    """Run a program of PostgreSQL on a database until it ends.

    It dies with us, and if this call is cancelled.

    Raises
    ------
    BackupFailed
        If it fails; the sentence quotes its last line.
    """
    address = address_of(dsn)
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--dbname={address.url}",
            "--no-password",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(address.password),
            preexec_fn=partial(_become_client, os.getpid()),
        )
    except (OSError, SubprocessError) as error:
        raise BackupFailed(f"{program.name} cannot be started: {error}") from error
    try:
        _, said = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        words = " ".join(said.decode(errors="replace").split())[-_LONGEST:]
        raise BackupFailed(f"{program.name} failed: {words or f'exit code {process.returncode}'}")


def _environment(password: str) -> Mapping[str, str]:
    """Return the variables that libpq reads, and no others."""
    kept = {name: value for name, value in os.environ.items() if name in _GIVEN or name.startswith("PG")}
    return kept | {"LANG": "C"} | ({"PGPASSWORD": password} if password else {})


def _become_client(parent_pid: int) -> None:
    """Give way to the validator, and die with it; runs between fork and exec."""
    die_with_parent(parent_pid)
    with suppress(OSError):  # a sandbox may forbid it
        os.nice(_NICENESS)
