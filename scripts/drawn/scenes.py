"""Plays what is drawn: a subnet under Prometheus with its pages, one whose database is lost, and one without runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Final

import httpx
from monitored.faults.scene import POSTGRES, WORKER, ChosenSubnet, Ground
from monitored.programs import ROOT, ProgramFailed, free_port
from monitored.prometheus import Prometheus

from drawn.board import Answer, board, read
from gaia.localnet.options import FIRST_INIT_TIME, Options

DASHBOARD: Final = ROOT / "monitoring" / "grafana_dashboard.json"
RUNNING, SITE, EMPTY, LOST = "running", "site", "empty", "lost"
"""Scenes, each a folder of pages: a run is open; the exported site; no run yet; the database does not answer."""
WINDOW: Final = "20s"
"""Time over which rates are taken, and `$__rate_interval` stands for here."""
_MOST_POINTS: Final = 300
_STALE_S: Final = 130.0
_LINK: Final = re.compile(rb'href="([^"#]+\.html)"|src="([^"]+\.png)"')
_LOST_WORDS: Final = b"The database could not be read"


async def play(folder: Path, *, miners: int, days: int, patience: float) -> None:
    """Write board/board.json and the pages of every scene below `folder`."""
    await _without_runs(folder, patience)
    await _with_runs(folder, miners, days, patience)


async def _with_runs(folder: Path, miners: int, days: int, patience: float) -> None:
    port = free_port()
    options = Options(miners=miners, days=days, seed=3, metrics_port=port)
    url = f"http://127.0.0.1:{port}"
    async with _subnet(folder / "subnet", options, patience) as ground:
        async with Prometheus(folder / "prometheus", f"127.0.0.1:{port}", speed=1.0) as prometheus:
            began = time.time()
            await ground.progress(
                lambda now: bool(now.completed_ids) and len(now.runs) > len(now.completed_ids)
            )
            await fetch(url, folder / "pages" / RUNNING, patience)
            os.kill(ground.pids(WORKER)[0], signal.SIGKILL)
            await ground.progress(lambda now: now.is_complete(days))
            await _await_restart(ground, prometheus)
            await _write_board(prometheus, began, folder / "board")
        await _export(folder / "pages" / SITE, folder / "subnet")
        await _lose_database(ground, url, folder / "pages" / LOST)


async def _without_runs(folder: Path, patience: float) -> None:
    port = free_port()
    options = Options(miners=3, days=1, metrics_port=port)
    before = {"last_run": FIRST_INIT_TIME - timedelta(days=1)}
    async with _subnet(folder / "without-runs", options, patience, **before) as ground:
        await ground.until(lambda: _is_ready(f"http://127.0.0.1:{port}"), 120.0, "the start")
        await fetch(f"http://127.0.0.1:{port}", folder / "pages" / EMPTY, patience)


@asynccontextmanager
async def _subnet(folder: Path, options: Options, patience: float, **chosen: object) -> AsyncIterator[Ground]:
    subnet = ChosenSubnet(folder, options, chosen)
    async with subnet:
        await subnet.start()
        yield Ground(subnet=subnet, patience=patience)


async def _is_ready(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(f"{url}/readyz")).is_success
        except httpx.HTTPError:
            return False


async def _await_restart(ground: Ground, prometheus: Prometheus) -> None:
    async def is_counted() -> bool:
        return bool(await prometheus.ask(f'gaia_child_process_restarts_total{{role="{WORKER}"}} > 0'))

    await ground.until(is_counted, 60.0, "the restart of a worker in Prometheus")


async def _write_board(prometheus: Prometheus, began: float, folder: Path) -> None:
    ended = time.time()
    step = max(1.0, (ended - began) / _MOST_POINTS)

    async def ask(expr: str, *, at_end: bool) -> Answer:
        if at_end:
            return [(labels, [(ended, value)]) for labels, value in await prometheus.ask(expr)]
        return await prometheus.values(expr, began, ended, step)

    drawn = await board(read(DASHBOARD), ask, WINDOW, (began, ended))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "board.json").write_text(json.dumps(drawn))


async def _export(target: Path, state: Path) -> None:
    """Run `gaia export site` on the state of a subnet."""
    command = [sys.executable, "-m", "gaia.cli", "export", "site", str(target), "--state", str(state)]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--pictures",
        "1",
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise ProgramFailed(f"gaia export site failed:\n{said.decode(errors='replace')}")


async def _lose_database(ground: Ground, url: str, target: Path) -> None:
    """Stop PostgreSQL, so that no new connection is answered, and fetch the pages that say so."""
    [server] = ground.pids(POSTGRES)
    os.kill(server, signal.SIGSTOP)
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:

            async def is_said() -> bool:
                try:
                    return _LOST_WORDS in (await client.get("/")).content
                except httpx.HTTPError:
                    # An IO-Engine that waits for the database may be replaced meanwhile.
                    return False

            await ground.until(is_said, _STALE_S, "the page of a lost database")
        await fetch(url, target, ground.patience)
    finally:
        os.kill(server, signal.SIGCONT)


async def fetch(url: str, target: Path, patience: float) -> None:
    """Write the pages at an address and all that they link to, once they are prepared."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:

        async def first() -> bool:
            return (await client.get("/index.html")).is_success

        await _until(first, 60.0 * patience)
        wanted, known = ["index.html"], {"index.html"}
        while wanted:
            path = wanted.pop()
            content = (await client.get(f"/{path}")).raise_for_status().content
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(content)
            for link in links(path, content) - known:
                known.add(link)
                wanted.append(link)


async def _until(reached: Callable[[], Awaitable[bool]], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not await reached():
            await asyncio.sleep(0.2)


def links(path: str, content: bytes) -> set[str]:
    """Return the paths of the pages and pictures that a page names.

    >>> sorted(links("runs/a.html", b'<a href="../index.html">x</a> <a href="b.html#x">y</a>'))
    ['index.html']
    """
    if not path.endswith(".html"):
        return set()
    found = {(page or picture).decode() for page, picture in _LINK.findall(content)}
    folder = PurePosixPath(path).parent
    return {os.path.normpath(folder / link) for link in found if "://" not in link}
