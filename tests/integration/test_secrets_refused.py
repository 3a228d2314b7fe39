"""A database repeats the password while it refuses us, and an operator mistypes an address; nobody else reads the secret."""

from __future__ import annotations

import asyncio
import base64
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from gaia.localnet.wallets import VALIDATOR_URI, write_hotkey
from gaia.validator.utils.entry_points import VALIDATOR as PROGRAM
from gaia.validator.utils.errors import ExitCode
from tests.support.canaries import canary, forms, leaks
from tests.support.patience import patience
from tests.support.repository import ROOT

PASSWORD = canary("database_password")
SSL_REQUEST = 80877103
CLEARTEXT = struct.pack(">cII", b"R", 8, 3)


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ask for the password, as PostgreSQL does without encryption, and refuse it by name."""
    try:
        while True:
            (size,) = struct.unpack(">I", await reader.readexactly(4))
            if struct.unpack(">I", (await reader.readexactly(size - 4))[:4])[0] != SSL_REQUEST:
                break
            writer.write(b"N")
        writer.write(CLEARTEXT)
        _, size = struct.unpack(">cI", await reader.readexactly(5))
        password = (await reader.readexactly(size - 4)).rstrip(b"\0").decode()
        encoded = base64.b64encode(password.encode()).decode()
        said = f'password "{password}" ({quote(password, safe="")}, {encoded}) of user "postgres" is wrong'
        fields = f"SFATAL\0C28P01\0M{said}\0DIt was {password}.\0\0".encode()
        writer.write(struct.pack(">cI", b"E", len(fields) + 4) + fields)
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def _refusing_database() -> AsyncIterator[int]:
    server = await asyncio.start_server(_refuse, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _written(environment: dict[str, str], folder: Path, *words: str) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *words), cwd=folder, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), patience(60))
    return process.returncode, output


def _environment(folder: Path, **changes: str) -> dict[str, str]:
    write_hotkey(folder / "wallets", "default", "default", VALIDATOR_URI)
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "GAIA_DATA_DIR": str(folder / "data"),
        "GAIA_LOG_DIR": str(folder / "logs"),
        "GAIA_LOG_LEVEL": "DEBUG",
        "GAIA_WALLET_PATH": str(folder / "wallets"),
        "GAIA_METRICS_PORT": "0",
        "GAIA_CHAIN_ENDPOINT": "ws://127.0.0.1:9",
        "GAIA_GFS_URL": "http://127.0.0.1:9",
        "GAIA_CDS_URL": "http://127.0.0.1:9",
        "GAIA_CLIMATOLOGY_URL": "http://127.0.0.1:9",
        "GAIA_SANDBOX": "best-effort",
        **changes,
    }


async def test_validator_ends_without_the_password_that_the_database_repeats(tmp_path: Path) -> None:
    async with _refusing_database() as port:
        given = {"GAIA_DATABASE_HOST": "127.0.0.1", "GAIA_DATABASE_PORT": str(port)}
        environment = _environment(tmp_path, GAIA_DATABASE_PASSWORD=PASSWORD, **given)

        code, output = await _written(environment, tmp_path, PROGRAM)

    files = [(str(path), path.read_bytes()) for path in tmp_path.glob("logs/*")]
    assert code == ExitCode.DATABASE_UNREACHABLE, output
    assert b"is wrong" in output
    assert b"***" in output
    assert files  # the Supervisor's; other processes may end before they have said anything
    assert leaks([("standard error", output), *files], {"password": PASSWORD}) == []


@pytest.mark.parametrize(
    "words",
    [
        (PROGRAM, "--check"),
        ("gaia.cli", "doctor", "--json"),
        ("gaia.cli", "status", "--json"),
        ("gaia.cli", "runs"),
        ("gaia.cli", "config", "show", "--origin"),
    ],
    ids=lambda words: words[-1],
)
async def test_command_says_without_the_password_that_the_database_refuses(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    async with _refusing_database() as port:
        given = {"GAIA_DATABASE_HOST": "127.0.0.1", "GAIA_DATABASE_PORT": str(port)}
        environment = _environment(tmp_path, GAIA_DATABASE_PASSWORD=PASSWORD, **given)

        _, output = await _written(environment, tmp_path, *words)

    assert b"Traceback" not in output, output
    assert b"is wrong" in output or "show" in words
    assert leaks([(" ".join(words), output)], {"password": PASSWORD}) == []


async def test_address_behind_the_wrong_name_is_not_repeated(tmp_path: Path) -> None:
    environment = _environment(tmp_path, GAIA_NETUID=f"postgresql://me:{quote(PASSWORD, safe='')}@db/x")

    code, output = await _written(environment, tmp_path, PROGRAM)

    assert code == ExitCode.BAD_SETTING
    assert b"postgresql://me:***@db/x" in output
    assert leaks([("standard error", output)], {"password": PASSWORD}) == []


@pytest.mark.parametrize("how", sorted(set(forms(PASSWORD).values())))
def test_search_finds_each_form(how: str) -> None:
    """A search that finds nothing anywhere would pass every test."""
    for form, name in forms(PASSWORD).items():
        if name == how:
            assert leaks([("a file", b"before " + form + b" after")], {"password": PASSWORD})
    assert leaks([("a file", base64.b64encode(f"me:{PASSWORD}".encode()))], {"password": PASSWORD})
