"""Entry point of the local subnet's own processes: chain, archives, miners."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gaia.localnet.chain.lies import result
from gaia.localnet.children import ready_path, say_ready
from gaia.localnet.options import (
    BLOCK_TIME_S,
    NETUID,
    TEMPO,
    VALIDATOR_STAKE,
    WEIGHTS_RATE_LIMIT,
    Options,
    clock_file,
)
from gaia.localnet.wallets import VALIDATOR_URI, keypair
from gaia.tasks.defined_tasks.weather.variables import SURFACE_FIELDS
from gaia.validator.core.clock import SimulatedClock

if TYPE_CHECKING:
    from gaia.localnet.chain.node import ChainNeuron, LocalChain

CHAIN, ARCHIVES, MINERS = "chain", "archives", "miners"
BLOCKS_PER_START = 1_000_000
_POLL_S = 0.02


class _MinerServed(msgspec.Struct, frozen=True):
    """Address of one miner."""

    hotkey: str
    host: str
    port: int


class _MinersServed(msgspec.Struct, frozen=True):
    """What the miners report once they serve."""

    miners: list[_MinerServed]


Service = Callable[[Path, Options], AbstractAsyncContextManager[Mapping[str, Any]]]


@asynccontextmanager
async def chain(state_dir: Path, options: Options) -> AsyncIterator[Mapping[str, Any]]:
    """Serve the chain once the miners listen."""
    node, first_block = await chain_of(state_dir, options)
    url = await node.start()
    further = [await node.further_endpoint() for _ in range(options.nodes - 1)]
    for endpoint in further[len(further) - options.lying_nodes :]:
        endpoint.lies.tell(node.key_of("Weights", NETUID, 0), result(None), times=None)
    try:
        more = [endpoint.url for endpoint in further]
        yield {"url": url, "more": more, "first_block": first_block}
    finally:
        await node.stop()


async def chain_of(state_dir: Path, options: Options) -> tuple[LocalChain, int]:
    """Return the chain, not started, and its first block; the validator gets uid 0, then miners follow by index."""
    from gaia.localnet.chain.node import LocalChain

    validator = keypair(VALIDATOR_URI).ss58_address
    served = (await _wait_for_miners(state_dir)).miners
    neurons = [_neuron(validator, stake=VALIDATOR_STAKE, validator_permit=True)]
    neurons += [_neuron(miner.hotkey, miner.host, miner.port) for miner in served]
    peers = range(len(neurons), len(neurons) + options.peers)
    neurons += [
        _neuron(keypair(f"//Peer/{uid}").ss58_address, stake=VALIDATOR_STAKE, validator_permit=True)
        for uid in peers
    ]
    first_block = _first_block(state_dir)
    node = LocalChain(
        neurons,
        netuid=NETUID,
        block_time_s=BLOCK_TIME_S,
        tempo=TEMPO,
        weights_rate_limit=WEIGHTS_RATE_LIMIT,
        commit_reveal=options.commit_reveal,
        first_block=first_block,
        yuma=True,
    )
    if peers:
        node.add_peers(peers, ours=0, turn_after=options.peers_turn_after)
    node.beacon.is_silent = not options.has_pulses
    return node, first_block


def _first_block(state_dir: Path) -> int:
    """Return 0 at the first start, later a block number that earlier chains have not reached.

    The validator's journal holds the epochs of earlier chains, which must not occur again.
    """
    path = state_dir / "chain_starts"
    starts = int(path.read_text()) if path.exists() else 0
    path.write_text(str(starts + 1))
    return starts * BLOCKS_PER_START


def _neuron(
    hotkey: str, ip: str = "", port: int = 0, *, stake: float = 0.0, validator_permit: bool = False
) -> ChainNeuron:
    """Return a registration whose hotkey is its own coldkey."""
    from gaia.localnet.chain.node import ChainNeuron

    return ChainNeuron(
        hotkey=hotkey, coldkey=hotkey, ip=ip, port=port, stake=stake, validator_permit=validator_permit
    )


@asynccontextmanager
async def miners(state_dir: Path, options: Options) -> AsyncIterator[Mapping[str, Any]]:
    """Serve all miners of the population."""
    from gaia.localnet.miners.farm import Farm

    farm = Farm(state_dir, options)
    addresses = await farm.start()
    try:
        yield {"miners": addresses}
    finally:
        await farm.stop()


@asynccontextmanager
async def archives(state_dir: Path, options: Options) -> AsyncIterator[Mapping[str, Any]]:
    """Serve the data sources on the subnet's simulated clock."""
    from gaia.localnet.archives.server import ArchiveServer
    from gaia.localnet.weather.replay import WeatherReplay

    clock = SimulatedClock(clock_file(state_dir))
    server = ArchiveServer(clock, WeatherReplay(), state_dir / "archives", options.grid, SURFACE_FIELDS)
    await server.start()
    try:
        yield server.environment()
    finally:
        await server.stop()


SERVICES: Mapping[str, Service] = {CHAIN: chain, MINERS: miners, ARCHIVES: archives}


async def _wait_for_miners(state_dir: Path) -> _MinersServed:
    path = ready_path(state_dir, MINERS)
    while not path.exists():
        await asyncio.sleep(_POLL_S)
    return msgspec.json.decode(path.read_bytes(), type=_MinersServed)


async def serve(name: str, state_dir: Path, services: Mapping[str, Service] = SERVICES) -> None:
    """Run one of `services` until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with services[name](state_dir, Options.load(state_dir)) as content:
        say_ready(state_dir, name, content)
        await stopped.wait()


def main(arguments: Sequence[str] | None = None, services: Mapping[str, Service] = SERVICES) -> None:
    """Parse the command line and run one of `services`."""
    parser = argparse.ArgumentParser(prog="python -m gaia.localnet.services", description=__doc__)
    parser.add_argument("service", choices=sorted(services))
    parser.add_argument("--state", type=Path, required=True, help="folder of the local subnet")
    chosen = parser.parse_args(arguments)
    asyncio.run(serve(chosen.service, chosen.state, services))


if __name__ == "__main__":
    main()
