"""Everything that a healthy validator finds around it, on loopback: sources, a chain, a database server."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gaia.localnet.chain.node import LocalChain
from gaia.localnet.chain.pallet import ChainNeuron
from gaia.localnet.wallets import keypair, write_hotkey
from gaia.tasks.defined_tasks.weather.variables import ALL_FIELDS, LEVELS_HPA, VARIABLES, split_field
from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres, find_binaries
from tests.support.patience import Deadline, patience

KEY = "0f8fad5b-d9cb-469f-a165-70867728950e"
PASSWORD = "a password that only the operator knows"
NETUID = 57
VALIDATOR, STRANGER = "//Validator", "//Stranger"
_CYCLE = re.compile(r"/gfs\.(\d{8})/(\d{2})/atmos/.*\.f(\d{3})\.idx")


@dataclass(frozen=True)
class World:
    """Addresses of everything around the validator."""

    sources: str
    chain: LocalChain
    chain_url: str
    chain_loop: asyncio.AbstractEventLoop
    postgres_port: int
    programs: Path
    """Folder of psql and createdb."""
    home: Path

    def wait_for_blocks(self, count: int) -> None:
        """Wait until the chain has sealed as many blocks more."""
        sealed = self.chain.wait_for_block(self.chain.block + count)
        asyncio.run_coroutine_threadsafe(sealed, self.chain_loop).result(patience(30))

    def psql(self, *statements: str, database: str = "postgres") -> None:
        """Execute statements as the superuser, each in a transaction of its own."""
        for statement in statements:
            place = ["-h", "127.0.0.1", "-p", str(self.postgres_port), "-U", "postgres", "-d", database]
            subprocess.run(
                [self.programs / "psql", "-q", "-v", "ON_ERROR_STOP=1", *place, "-c", statement],
                check=True,
                capture_output=True,
            )


@contextmanager
def whole_world(folder: Path) -> Iterator[World]:
    """Serve everything until the body ends."""
    wallets = folder / "wallets"
    write_hotkey(wallets, "validator", "default", VALIDATOR)
    write_hotkey(wallets, "validator", "other", STRANGER)
    with _sources() as sources, _chain() as (chain, url, loop), _postgres(folder) as port:
        yield World(
            sources=sources,
            chain=chain,
            chain_url=url,
            chain_loop=loop,
            postgres_port=port,
            programs=find_binaries(),
            home=folder,
        )


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class _Sources(BaseHTTPRequestHandler):
    """NOAA's bucket, the Climate Data Store and the climatology, as far as doctor asks them."""

    def do_GET(self) -> None:
        if found := _CYCLE.match(self.path):
            return self._answer(200, _index(found[1] + found[2], int(found[3])))
        if self.path.startswith("/api/retrieve/v1/jobs"):
            if self.headers.get("PRIVATE-TOKEN") == KEY:
                return self._answer(200, b'{"jobs": []}')
            return self._answer(401, b'{"title": "permission denied", "detail": "authentication failed"}')
        if self.path == "/climatology.zarr/.zmetadata":
            return self._answer(200, _metadata())
        return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _index(cycle: str, lead_hours: int) -> bytes:
    names = [VARIABLES[name].gfs_idx_name.format(level=level) for name, level in map(split_field, ALL_FIELDS)]
    rows = [f"{n}:{n * 100}:d={cycle}:{name}:{lead_hours} hour fcst:" for n, name in enumerate(names)]
    return "\n".join(rows).encode()


def _metadata() -> bytes:
    described: dict[str, object] = {}
    names = {split_field(field) for field in ALL_FIELDS}
    for variable, level in names:
        dimensions = ["hour", "dayofyear", *(["level"] if level is not None else []), "latitude", "longitude"]
        shape = [4, 366, *([len(LEVELS_HPA)] if level is not None else []), 721, 1440]
        name = VARIABLES[variable].climatology_name
        described[f"{name}/.zarray"] = {"shape": shape, "chunks": shape}
        described[f"{name}/.zattrs"] = {"_ARRAY_DIMENSIONS": dimensions}
        for dimension, size in zip(dimensions, shape, strict=True):
            described[f"{dimension}/.zarray"] = {"shape": [size], "chunks": [size]}
            described[f"{dimension}/.zattrs"] = {"_ARRAY_DIMENSIONS": [dimension]}
    return json.dumps({"metadata": described}).encode()


@contextmanager
def _sources() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sources)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def _chain() -> Iterator[tuple[LocalChain, str, asyncio.AbstractEventLoop]]:
    hotkey = keypair(VALIDATOR).ss58_address
    own = ChainNeuron(hotkey=hotkey, coldkey=hotkey, ip="", port=0, stake=100_000.0, validator_permit=True)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    chain = LocalChain([own], netuid=NETUID, weights_rate_limit=20)
    url = asyncio.run_coroutine_threadsafe(chain.start(), loop).result(patience(30))
    yield chain, url, loop
    asyncio.run_coroutine_threadsafe(chain.stop(), loop).result(patience(30))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@contextmanager
def _postgres(folder: Path) -> Iterator[int]:
    """Serve PostgreSQL at a port; the role "locked" needs a password, all others none."""
    server = EmbeddedPostgres(folder)
    server.prepare()
    port = free_port()
    server._options |= {"listen_addresses": "127.0.0.1", "port": str(port)}
    rules = folder / "postgres" / "cluster" / "pg_hba.conf"
    rules.write_text("host all locked 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    process = server.start()
    deadline = Deadline(60)
    while not server.is_ready():
        assert process.poll() is None, (folder / "postgres" / "postgres.log").read_text()
        assert not deadline.has_passed, f"PostgreSQL is not ready after {deadline}"
        time.sleep(0.01)
    yield port
    process.send_signal(signal.SIGINT)
    process.wait(patience(30))
