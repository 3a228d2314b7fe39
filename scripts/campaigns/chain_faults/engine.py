"""The half of the IO-Engine that meets the chain, as a process that may be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop

from gaia.tasks.defined_tasks.base import FoundCopies
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.core.chain.metagraph import MetagraphKeeper
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.core.clock import RealClock
from gaia.validator.core.consensus.watching import ConsensusWatch
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.core.incidents import Incident
from gaia.validator.core.task_orchestrator import TaskOrchestrator
from gaia.validator.core.weights.setting import WeightSetter
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import ConfigurationError, GaiaError
from gaia.validator.utils.files import put_file
from gaia.validator.utils.machine.parent_death import die_with_parent
from gaia.validator.utils.settings.chain import ChainSettings
from gaia.validator.utils.settings.weights import WeightsSettings

_LOOK_S = 0.2
_DATABASE_S = 2.0
_RETRY_S = 0.1


def run_engine(dsn: str, signer_path: str, folder: str, netuid: int, chain_timeout_s: float) -> None:
    """Set weights until SIGTERM; exit with the code of what only the operator can mend."""
    die_with_parent(os.getppid())
    os.dup2(os.open(Path(folder) / "engine.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
    configure_logging("INFO", "json", role="io_engine")
    try:
        uvloop.run(_engine(dsn, signer_path, Path(folder), netuid, chain_timeout_s))
    except ConfigurationError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(error.exit_code)


async def _engine(dsn: str, signer_path: str, folder: Path, netuid: int, chain_timeout_s: float) -> None:
    database = await _connected(dsn)
    client = SignerClient(signer_path, chain_timeout_s)
    keeper = MetagraphKeeper(client)
    settings = WeightsSettings(weights_interval_blocks=1)
    setter = WeightSetter(
        ChainSettings(netuid=netuid),
        settings,
        database,
        client,
        keeper,
        _NoCopies(),
        consensus=ConsensusWatch(client, database, netuid, settings),
    )
    orchestrator = TaskOrchestrator(
        RealClock(),
        [],
        keeper,
        setter,
        Incident(database, "chain"),
        lambda _kind: None,
        tick_interval_s=1.0,
        metagraph_interval_s=_LOOK_S,
        drain_timeout_s=10.0,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    put_file(folder / "up", str(os.getpid()).encode())
    await orchestrator.run(stop)
    await client.close()
    await database.close()


async def _connected(dsn: str) -> Database:
    """Return a database that is set up; the server may have been killed just now."""
    while True:
        try:
            database = await Database.connect(dsn, timeout_s=_DATABASE_S, pool_size=2)
            await run_comprehensive_database_setup(database)
        except (GaiaError, OSError):
            await asyncio.sleep(_RETRY_S)
        else:
            return database


class _NoCopies:
    async def find(self, _members: Any, _earning: Any, _renamed: Any) -> FoundCopies:
        return FoundCopies(pairs=(), committed={}, products=())
