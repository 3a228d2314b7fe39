"""A whole subnet on one machine: chain, archives, miners and validator."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from gaia.localnet.chain.readback import read_chain
from gaia.localnet.children import Child, ChildFailed
from gaia.localnet.options import (
    NETUID,
    WALLET_HOTKEY,
    WALLET_NAME,
    Addresses,
    Options,
    clock_file,
    data_dir,
    process_environment,
    validator_environment,
    validator_settings,
    wallet_dir,
)
from gaia.localnet.population import MinerSpec, population
from gaia.localnet.services import ARCHIVES, CHAIN, MINERS
from gaia.localnet.view.report import Outcome, report_of, summary_of
from gaia.localnet.view.watch import Progress, Watch
from gaia.localnet.wallets import VALIDATOR_URI, keypair, write_hotkey
from gaia.validator.app.children.embedded_postgres import embedded_dsn
from gaia.validator.core.clock import SimulatedClock
from gaia.validator.utils.entry_points import LOCALNET_SERVICES
from gaia.validator.utils.entry_points import VALIDATOR as VALIDATOR_PROGRAM
from gaia.validator.utils.errors import GaiaError

if TYPE_CHECKING:
    from gaia.validator.utils.config import Settings

VALIDATOR = "validator"
_SERVICE_READY_S = 60.0
_SERVICE_STOP_S = 5.0
_STOP_MARGIN_S = 10.0
_AGREEMENT_S = 5.0
_AGREEMENT_POLL_S = 0.25


class WeightsDiffer(GaiaError):
    """The weights on chain differ from those in the validator's journal."""


class LocalSubnet:
    """Starts every process of a local subnet, watches the validator, and stops everything in order.

    Each process has its own session and dies with this one, even by SIGKILL. Use it as an
    async context, which stops the remaining processes at its end.

    Parameters
    ----------
    state_dir
        Folder of all files. A folder of an earlier subnet continues that one, with the same
        calendar, database, forecasts and options, except for the metrics port.
    options
        Size, days, grid, seed, behaviours and the metrics port.
    """

    services_program = LOCALNET_SERVICES
    """Module that runs one service; a subclass may name another."""

    def __init__(self, state_dir: Path, options: Options) -> None:
        self.state_dir = state_dir.resolve()
        self.options = options
        self.settings: Settings | None = None
        self.specs: Mapping[str, MinerSpec] = {}
        """By hotkey."""
        self.validator: Child | None = None
        self.last_progress = Progress()
        self.services: dict[str, Child] = {}
        self._watch = Watch(embedded_dsn(data_dir(self.state_dir)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the services, then the validator.

        Raises
        ------
        ChildFailed
            If a service does not become ready.
        """
        self._prepare()
        await self._start_services()
        self.start_validator()

    def start_validator(self) -> None:
        """Start the validator, for the first time or again; the services must run."""
        if self.settings is None:
            raise ValueError("the services are not up")
        arguments = [sys.executable, "-m", VALIDATOR_PROGRAM]
        environment = validator_environment(self.state_dir, self.settings.model_dump(exclude_unset=True))
        self.validator = Child(VALIDATOR, self.state_dir, arguments, environment)
        self.validator.start()

    def check(self) -> None:
        """Raise `ChildFailed` if a process has ended unexpectedly."""
        children = [*self.services.values(), *filter(None, [self.validator])]
        for child in children:
            if not child.is_running:
                raise ChildFailed(child.obituary())

    async def progress(self) -> Progress:
        """Return the progress in the validator's database, or the last known one if it is away."""
        self.last_progress = await self._watch.progress()
        return self.last_progress

    def simulated_time(self) -> datetime | None:
        """Return the present simulated time; None before the start."""
        with suppress(OSError, ValueError):
            return SimulatedClock(clock_file(self.state_dir)).now()
        return None

    async def outcome(self, progress: Progress, seconds: Mapping[str, float]) -> Outcome:
        """Return the state on chain joined with that of the database.

        Raises
        ------
        OSError
            If the chain cannot be reached.
        """
        if self.settings is None:
            raise ValueError("the services are not up")
        reading = await read_chain(self.settings.chain_endpoint, NETUID)
        own_hotkey = keypair(VALIDATOR_URI).ss58_address
        own_uid = reading.uid_of(own_hotkey)
        uids = {neuron["hotkey"]: neuron["uid"] for neuron in reading.neurons}
        return Outcome(
            contract=self.settings.contract,
            weights=self.settings.weights,
            specs=self.specs,
            uids=uids,
            progress=progress,
            chain_vector=reading.weights.get(own_uid, ()) if own_uid is not None else (),
            metagraph={
                "netuid": NETUID,
                "block": reading.block,
                "own_hotkey": own_hotkey,
                "own_uid": own_uid,
                "owner_hotkey": reading.owner_hotkey,
                "neurons": [dict(neuron) for neuron in reading.neurons],
            },
            seconds=seconds,
            seed=self.options.seed,
        )

    async def report(self, progress: Progress, seconds: Mapping[str, float]) -> dict[str, Any]:
        """Return the object for `--json`, and leave `summary.json` for the control script.

        Raises
        ------
        OSError, asyncpg.PostgresError
            If the chain or the database cannot be reached.
        WeightsDiffer
            If the chain does not hold the weights that the validator has journalled.
        """
        deadline = time.monotonic() + _AGREEMENT_S
        while True:
            outcome = await self.outcome(progress, seconds)
            if progress.weights is not None and progress.weights.vector == outcome.chain_vector:
                break
            if time.monotonic() > deadline:
                raise WeightsDiffer(f"the chain holds {outcome.chain_vector}, the journal {progress.weights}")
            # New weights may be on chain before the journal says so.
            await asyncio.sleep(_AGREEMENT_POLL_S)
            progress = await self.progress()
        summary = summary_of(outcome, await self._watch.components())
        (self.state_dir / "summary.json").write_text(json.dumps(summary, indent=1))
        return report_of(outcome)

    async def stop_validator(self) -> bool:
        """Stop the validator with a drain, as Ctrl-C does; return True if it ended by itself with code 0."""
        if self.validator is None:
            return True
        patience = (self.settings.drain_timeout_s if self.settings else 0.0) + _STOP_MARGIN_S
        ended = await self.validator.stop(patience, signal.SIGINT)
        return ended and self.validator.exit_code == 0

    async def stop(self) -> bool:
        """Stop the validator, then the services; return True if the validator drained cleanly."""
        await self._watch.close()
        clean = await self.stop_validator()
        await asyncio.gather(*(child.stop(_SERVICE_STOP_S) for child in self.services.values()))
        return clean

    def _prepare(self) -> None:
        """Write options, clock and wallet, unless an earlier start has done so."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        if (self.state_dir / "options.json").exists():
            stored = Options.load(self.state_dir)
            self.options = msgspec.structs.replace(stored, metrics_port=self.options.metrics_port)
        else:
            options = self.options
            SimulatedClock.create(clock_file(self.state_dir), options.clock_start, options.clock_end)
            options.save(self.state_dir)
        write_hotkey(wallet_dir(self.state_dir), WALLET_NAME, WALLET_HOTKEY, VALIDATOR_URI)

    async def _start_services(self) -> None:
        environment = process_environment(self.state_dir)
        # The miners first, because the chain needs their addresses.
        for name in (MINERS, CHAIN, ARCHIVES):
            arguments = [
                sys.executable, "-m", self.services_program, name, "--state", str(self.state_dir)
            ]  # fmt: skip
            self.services[name] = Child(name, self.state_dir, arguments, environment)
            self.services[name].start()
        ready = await asyncio.gather(
            *(self.services[name].ready(_SERVICE_READY_S) for name in (MINERS, CHAIN, ARCHIVES))
        )
        miners, chain, archives = ready
        self._watch.first_block = chain["first_block"]
        specs = population(self.options.miners, self.options.seed, self.options.recast)
        self.specs = {miner["hotkey"]: specs[miner["index"]] for miner in miners["miners"]}
        addresses = Addresses(
            chain=chain["url"],
            more_of_chain=chain.get("more", []),
            gfs=archives["GAIA_GFS_URL"],
            cds=archives["GAIA_CDS_URL"],
            cds_key=archives["GAIA_CDS_KEY"],
            climatology=archives["GAIA_CLIMATOLOGY_URL"],
        )
        self.settings = validator_settings(self.state_dir, self.options, addresses)
