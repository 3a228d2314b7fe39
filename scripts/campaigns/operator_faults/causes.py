"""Faults that are injected for real, each ended when its context is left."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta

import asyncpg
import psutil
from monitored.faults.scene import POSTGRES, SIGNER, send, suspended

from campaigns.operator_faults.place import Place, folder_of
from gaia.localnet.archives.troubles import Source, Trouble
from gaia.localnet.options import data_dir
from gaia.localnet.services import MINERS
from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.utils.files import put_file

_MOST_CONNECTIONS = 100
_KEPT_FREE = 40 * 2**20
_TO_THE_OPENING = timedelta(minutes=1)
_BLOCK = b"x" * 2**20
_PLAY_S = 150.0
_FAILED = "SELECT count(*) FROM reference_sets WHERE NOT ready AND attempts > 0 AND reference_id LIKE $1"
_LOST = "SELECT count(*) FROM forecasts WHERE state NOT IN ('rejected', 'excused')"

Entered = Callable[[Place], AbstractAsyncContextManager[None]]


def killed_once(role: str) -> Entered:
    """Return a cause that kills one process of a role."""

    @asynccontextmanager
    async def cause(place: Place) -> AsyncIterator[None]:
        send(place.pids(role)[:1], signal.SIGKILL)
        yield

    return cause


def stopped_once(role: str) -> Entered:
    """Return a cause that stops one process of a role with SIGSTOP."""

    @asynccontextmanager
    async def cause(place: Place) -> AsyncIterator[None]:
        async with suspended(place.pids(role)[:1]):
            yield

    return cause


@asynccontextmanager
async def stopped_postgres(place: Place) -> AsyncIterator[None]:
    """Stop the embedded server and all its sessions with SIGSTOP."""
    (postmaster,) = place.pids(POSTGRES)
    sessions = [child.pid for child in psutil.Process(postmaster).children(recursive=True)]
    async with suspended([postmaster, *sessions]):
        yield


@asynccontextmanager
async def full_server(place: Place) -> AsyncIterator[None]:
    """Open sessions until the server refuses more, as a forgotten program does."""
    dsn = embedded_dsn(data_dir(place.subnet.state_dir))
    async with AsyncExitStack() as stack:
        for _ in range(_MOST_CONNECTIONS):
            try:
                connection = await asyncpg.connect(dsn, ssl=False)
            except asyncpg.TooManyConnectionsError:
                break
            stack.callback(connection.terminate)
        yield


def lying(lie: str, truth: str = "truth") -> Entered:
    """Return a cause that has the node carry out one command, and another one at the end."""

    @asynccontextmanager
    async def cause(place: Place) -> AsyncIterator[None]:
        await place.node(lie)
        try:
            yield
        finally:
            await place.node(truth)

    return cause


def refusing(source: Source, trouble: Trouble) -> Entered:
    """Return a cause that has an archive refuse what the runs need next."""

    @asynccontextmanager
    async def cause(place: Place) -> AsyncIterator[None]:
        name = {Source.CDS: "era5/%"}.get(source, f"{source}/%")
        await place.archive(source, trouble)
        try:
            async with place.connected() as connection, place.calendar_going_on():

                async def is_refused() -> bool:
                    return bool(await connection.fetchval(_FAILED, name))

                await place.until(is_refused, _PLAY_S, f"a refusal by {source}")
            yield
        finally:
            await place.archive(source, None)
        async with place.connected() as connection, place.calendar_going_on():

            async def is_delivered() -> bool:
                return not await connection.fetchval(_FAILED, name)

            await place.until(is_delivered, _PLAY_S, f"an answer of {source}")

    return cause


@asynccontextmanager
async def silent_miners(place: Place) -> AsyncIterator[None]:
    """Stop all miners with SIGSTOP once they have accepted, until none of them can be in time."""
    place.clock.extend(place.clock.now() + _TO_THE_OPENING)
    await place.progress(
        lambda progress: (
            bool(progress.forecasts) and all(each.state == "requested" for each in progress.forecasts)
        )
    )

    async def is_computed() -> bool:
        return not place.clock.is_held()

    # A miner that is stopped while it computes would hold the calendar.
    await place.until(is_computed, _PLAY_S, "the end of the miners' models")
    async with suspended([place.service(MINERS)]):
        async with place.connected() as connection, place.calendar_going_on():

            async def is_over() -> bool:
                return not await connection.fetchval(_LOST)

            await place.until(is_over, _PLAY_S, "the end of the freeze window")
        yield
    async with place.calendar_going_on():
        await place.progress(lambda progress: any(each.day1 is not None for each in progress.forecasts))


@asynccontextmanager
async def full_disk(place: Place) -> AsyncIterator[None]:
    """Fill the disk of the data folder but for 40 MiB."""
    ballast = place.subnet.state_dir / "ballast"

    def fill() -> None:
        with ballast.open("wb") as out:
            while shutil.disk_usage(place.subnet.state_dir).free > _KEPT_FREE:
                out.write(_BLOCK)
                out.flush()

    try:
        await asyncio.to_thread(fill)
        yield
    finally:
        ballast.unlink(missing_ok=True)


@asynccontextmanager
async def taken_port(place: Place) -> AsyncIterator[None]:
    """Stop the validator, let another program take the port of its metrics, and start it again."""
    assert place.subnet.settings is not None
    await place.subnet.stop_validator()
    with socket.create_server(("127.0.0.1", place.subnet.settings.metrics_port)):
        place.subnet.start_validator()
        await place.until(_ended(place), _PLAY_S, "the end of the validator")
        yield


def _ended(place: Place) -> Callable[[], Awaitable[bool]]:
    async def has_ended() -> bool:
        return place.has_ended()

    return has_ended


@asynccontextmanager
async def lost_hotkey(place: Place) -> AsyncIterator[None]:
    """Take the hotkey's file away, and kill the signer, which reads it at its start."""
    assert place.subnet.settings is not None
    hotkey = folder_of(place) / place.subnet.settings.wallet_hotkey
    kept = hotkey.read_bytes()
    hotkey.unlink()
    try:
        send(place.pids(SIGNER), signal.SIGKILL)
        yield
    finally:
        put_file(hotkey, kept)
        hotkey.chmod(0o600)
