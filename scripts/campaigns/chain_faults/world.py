"""A chain with three nodes, and the signer, half engine and database that use them; each may be killed at any moment."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import asyncpg

from campaigns.chain_faults.endpoints import Nodes
from campaigns.chain_faults.engine import run_engine
from gaia.localnet.chain.beacon import KNOWN_ROUND
from gaia.localnet.chain.node import ChainNeuron, LocalChain
from gaia.localnet.view.watch import NOT_NOW
from gaia.localnet.wallets import VALIDATOR_URI, keypair, miner_uri, write_hotkey
from gaia.validator.app.chain_signer import run_chain_signer
from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres, embedded_dsn
from gaia.validator.core.chain.nodes import heads
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.schema.migrating import read_standing
from gaia.validator.db.schema.standing import Fit
from gaia.validator.utils.chain.metagraph import BLOCK_S
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import GaiaError

NETUID: Final = 57
TEMPO: Final = 48
SHORT_BLOCK_S: Final = 0.35
CHAIN_TIMEOUT_S: Final = 2.0
MINERS: Final = 6
_POLL_S: Final = 0.02
_PATIENCE_S: Final = 60.0
ROLES: Final = ("signer", "engine", "database")
_RUN: Final = "2026-04-10T00Z"


@dataclass
class World:
    """Everything that a trial can harm."""

    folder: Path
    chain: LocalChain
    nodes: Nodes
    postgres: EmbeddedPostgres
    listener: socket.socket
    urls: list[str]
    block_s: float
    client: SignerClient
    processes: dict[str, BaseProcess] = field(default_factory=dict)
    server: subprocess.Popen[bytes] | None = None
    ends: list[str] = field(default_factory=list)
    """Ends of a process that nobody had ordered."""
    held: set[str] = field(default_factory=set)
    """Signer or engine, if `keep_up` must not start it again."""

    @property
    def dsn(self) -> str:
        return embedded_dsn(self.folder / "data")

    @property
    def record(self) -> Path:
        """File of the signer that says what the hotkey has signed."""
        return _settings(self.folder, self.urls).signer.signed_epochs

    def pid(self, role: str) -> int:
        """Return the pid of a role that lives."""
        if role == "database":
            assert self.server is not None
            return self.server.pid
        pid = self.processes[role].pid
        assert pid is not None
        return pid

    async def kill(self, role: str) -> None:
        """Kill a process with SIGKILL; `keep_up` starts another."""
        if role == "database":
            assert self.server is not None
            self.server.kill()
            await asyncio.to_thread(self.server.wait)
            self.server = None
            return
        process = self.processes.pop(role)
        process.kill()
        await asyncio.to_thread(process.join)

    async def hold(self) -> None:
        """Kill signer and engine, and start them no more until `held` is empty again."""
        self.held |= {"signer", "engine"}
        for role in sorted(self.held):
            if role in self.processes:
                await self.kill(role)

    async def stop(self, role: str, seconds: float) -> None:
        """Stop a process with SIGSTOP for a while."""
        pid = self.pid(role)
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    async def keep_up(self) -> None:
        """Start what does not run, for ever."""
        while True:
            for role, process in list(self.processes.items()):
                if process.exitcode is not None:
                    self.ends.append(f"the {role} ended with code {process.exitcode}")
                    del self.processes[role]
            if self.server is None:
                self.server = await self._started_server()
            for role, begin in (("signer", self._signer), ("engine", self._engine)):
                if role not in self.processes and role not in self.held:
                    self.processes[role] = begin()
            await asyncio.sleep(_POLL_S)

    async def is_up(self) -> int:
        """Wait until signer, engine and database do their work; return the newest block then.

        No success is waited for: the signer has loaded what it needs, and the engine has reached the database.
        """
        async with asyncio.timeout(_PATIENCE_S):
            while not await self._serves():
                await asyncio.sleep(_POLL_S)
        return self.chain.block

    async def _serves(self) -> bool:
        engine = self.processes.get("engine")
        if engine is None or self.server is None or not self.postgres.is_ready():
            return False
        try:
            if (self.folder / "up").read_text() != str(engine.pid):
                return False
            await self.client.read_nodes()
        except (OSError, GaiaError):
            return False
        return True

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Connect to the database, once it is there."""
        connection: asyncpg.Connection[asyncpg.Record] | None = None
        async with asyncio.timeout(_PATIENCE_S):
            while connection is None:
                with suppress(*NOT_NOW):
                    connection = await asyncpg.connect(self.dsn, ssl=False)
                await asyncio.sleep(_POLL_S)
        try:
            yield connection
        finally:
            connection.terminate()

    async def _started_server(self) -> subprocess.Popen[bytes]:
        while not self.postgres.is_free(time.monotonic()):
            await asyncio.sleep(_POLL_S)
        server = self.postgres.start()
        while not self.postgres.is_ready() and server.poll() is None:
            await asyncio.sleep(_POLL_S)
        return server

    def _signer(self) -> BaseProcess:
        return _spawned(run_signer, self.urls, str(self.folder), self.listener, self.block_s)

    def _engine(self) -> BaseProcess:
        return _spawned(
            run_engine, self.dsn, str(self.folder / "signer.sock"), str(self.folder), NETUID, CHAIN_TIMEOUT_S
        )


def run_signer(urls: list[str], folder: str, listener: socket.socket, block_s: float) -> None:
    """Serve as the chain signer does; what it says goes to a file.

    The age at which the newest block of a node is old means blocks, so it follows the speed of the chain.
    """
    vars(heads)["OLDEST_S"] = heads.OLDEST_S * block_s / BLOCK_S
    log = os.open(Path(folder) / "signer.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, sys.stderr.fileno())
    run_chain_signer(_settings(Path(folder), urls).signer, listener)


def _settings(folder: Path, urls: list[str]) -> Settings:
    return Settings(
        netuid=NETUID,
        chain_endpoint=urls[0],
        chain_more_endpoints=urls[1:],
        chain_timeout_s=CHAIN_TIMEOUT_S,
        wallet_name="validator",
        wallet_path=folder / "wallets",
        data_dir=folder / "data",
        beacon_round=KNOWN_ROUND,
    )


def _spawned(target: Callable[..., Any], *arguments: Any) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    return process


@asynccontextmanager
async def a_world(
    folder: Path, block_s: float, *, first_block: int = 0, tempo: int = TEMPO
) -> AsyncIterator[World]:
    """Start everything, with the scores of one run; end it afterwards."""
    hotkeys = [str(keypair(uri).ss58_address) for uri in (VALIDATOR_URI, *map(miner_uri, range(MINERS)))]
    neurons = [
        ChainNeuron(
            hotkey=hotkey,
            coldkey=hotkey,
            ip="127.0.0.2" if uid else "",
            port=8091 if uid else 0,
            stake=0.0 if uid else 2000.0,
            validator_permit=not uid,
        )
        for uid, hotkey in enumerate(hotkeys)
    ]
    chain = LocalChain(
        neurons,
        netuid=NETUID,
        block_time_s=block_s,
        tempo=tempo,
        weights_rate_limit=1,
        first_block=first_block,
        yuma=True,
    )
    await chain.start()
    endpoints = [await chain.further_endpoint() for _ in range(3)]
    write_hotkey(folder / "wallets", "validator", "default", VALIDATOR_URI)
    postgres = EmbeddedPostgres(folder / "data")
    await asyncio.to_thread(postgres.prepare)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "signer.sock"))
    listener.listen()
    urls = [endpoint.url for endpoint in endpoints]
    client = SignerClient(folder / "signer.sock", CHAIN_TIMEOUT_S)
    world = World(folder, chain, Nodes(chain, endpoints, NETUID), postgres, listener, urls, block_s, client)
    keeping = asyncio.create_task(world.keep_up())
    try:
        async with world.connected() as connection:
            await until_migrated(connection)
            await record_run(connection, hotkeys[1:], _RUN)
        yield world
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await client.close()
        for role in [*world.processes]:
            await world.kill(role)
        if world.server is not None:
            await world.kill("database")
        listener.close()
        await chain.stop()


async def until_migrated(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Wait until the engine has applied all migrations: a write before that is in the way of one."""
    migrations = read_migrations()
    async with asyncio.timeout(_PATIENCE_S):
        while (await read_standing(connection, migrations)).fit is not Fit.CURRENT:
            await asyncio.sleep(_POLL_S)


async def record_run(
    connection: asyncpg.Connection[asyncpg.Record], hotkeys: Sequence[str], run_id: str
) -> None:
    """Store a completed run of yesterday with a score of each miner; the first hotkey is that of uid 1."""
    opened_at = datetime.now(UTC) - timedelta(days=1)
    await connection.execute(
        "INSERT INTO runs (run_id, init_time, rule_set, opened_at, state, completed_at)"
        " VALUES ($1, $2::timestamptz, 'gaia-2.9', $2, 'completed', $2)",
        *(run_id, opened_at),
    )
    for uid, hotkey in enumerate(hotkeys, start=1):
        await connection.execute(
            "INSERT INTO forecasts (run_id, hotkey, uid, registered_at, opened_at, next_at, changed_at, state,"
            " reason, manifest) VALUES ($1, $2, $3, 0, $4, $4, $4, 'scored', 'none', '')",
            *(run_id, hotkey, uid, opened_at),
        )
        await connection.execute(
            "INSERT INTO score_table (run_id, hotkey, rule_set, leads, overall, counted, updated_at)"
            " VALUES ($1, $2, 'gaia-2.9', '{}', $3, true, now())",
            *(run_id, hotkey, 0.5 + uid / 100),
        )


async def change_scores(world: World, chance: random.Random) -> None:
    """Give every miner another score, so that a vector that is computed again is another one."""
    async with world.connected() as connection:
        with suppress(*NOT_NOW):
            await connection.execute(
                "UPDATE score_table SET overall = least(1, overall * $1), updated_at = now() WHERE hotkey = ("
                "SELECT hotkey FROM score_table ORDER BY md5(hotkey || $2) LIMIT 1)",
                *(chance.uniform(0.5, 1.5), str(chance.random())),
            )
