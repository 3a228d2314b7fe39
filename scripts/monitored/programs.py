"""Starts and stops the programs of Prometheus, each in a folder and on a port of its own."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
}
"""Program -> package of Debian and Ubuntu."""
_READY_S = 60.0
_STOP_S = 15.0
_LOOK_S = 0.1
_TAIL = 1500


class ProgramFailed(Exception):
    """A program is missing, ended or never became ready."""


def program(name: str) -> str:
    """Return the path of a program, on PATH or in .venv/bin.

    Raises
    ------
    ProgramFailed
        If it is in neither.
    """
    found = shutil.which(name) or shutil.which(name, path=str(ROOT / ".venv" / "bin"))
    if found is None:
        raise ProgramFailed(
            f"{name} is missing; on Debian or Ubuntu: apt-get install --no-install-recommends {PACKAGES[name]}"
        )
    return found


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One server on loopback, ready when `path` answers; used as an async context."""

    def __init__(self, name: str, folder: Path, arguments: Sequence[str], port: int, path: str) -> None:
        self._name = name
        self._folder = folder
        self._command = [program(name), *arguments]
        self.url = f"http://127.0.0.1:{port}"
        self._ready_url = self.url + path
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{self._name}.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, cwd=self._folder, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        ends_at = time.monotonic() + _READY_S
        async with httpx.AsyncClient(trust_env=False) as client:
            while not await _answers(client, self._ready_url):
                if self._process.returncode is not None or time.monotonic() > ends_at:
                    await self.__aexit__()
                    said = (self._folder / f"{self._name}.log").read_text(errors="replace")[-_TAIL:]
                    raise ProgramFailed(f"{self._name} does not become ready:\n{said}")
                await asyncio.sleep(_LOOK_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def disk(folder: Path, size_mib: int) -> Iterator[Path]:
    """Yield `folder`, on a file system of its own if it has a size."""
    folder.mkdir(parents=True, exist_ok=True)
    if not size_mib:
        yield folder
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
