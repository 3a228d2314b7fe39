"""A subtensor node for rehearsals: real metadata and protocol, one subnet, blocks on a timer."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bittensor_core

from gaia.localnet.chain.blocks import BlockChain
from gaia.localnet.chain.calls import DispatchError
from gaia.localnet.chain.endpoint import Endpoint
from gaia.localnet.chain.pallet import ChainNeuron, SubnetRules
from gaia.localnet.chain.runtime import ChainRuntime
from gaia.localnet.chain.subnet.peers import Peers
from gaia.localnet.chain.subnet.yuma import YumaConsensus

if TYPE_CHECKING:
    from gaia.localnet.chain.beacon import Beacon
    from gaia.localnet.chain.extrinsics import Extrinsic

__all__ = ["OWNER_URI", "ChainNeuron", "LocalChain"]

OWNER_URI = "//Owner"
"""Secret of the subnet owner's hotkey, unless the rehearsal names another."""


class LocalChain:
    """A chain that the real SDK can read and submit to.

    Neuron `i` of `neurons` gets uid `i`. The subnet owner gets the next uid, unless its hotkey
    is among them. Weight on its uid is burnt.

    Parameters
    ----------
    weights_rate_limit
        Least number of blocks between two weight settings of one neuron.
    weights_version
        Least version key accepted; 0 accepts any.
    commit_reveal
        Refuse plain weights, as subnets with commit-reveal do.
    first_block
        Number of the first block; above 0 for a chain that continues an earlier one.
    yuma
        Compute consensus, dividends and emission at the beginning of each epoch.
    finality_lag
        Number of newest blocks that are not final yet.
    """

    def __init__(
        self,
        neurons: Sequence[ChainNeuron],
        *,
        netuid: int = 57,
        block_time_s: float = 0.25,
        tempo: int = 10,
        weights_rate_limit: int = 2,
        min_allowed_weights: int = 1,
        weights_version: int = 0,
        commit_reveal: bool = False,
        owner_hotkey: str = "",
        first_block: int = 0,
        yuma: bool = False,
        finality_lag: int = 0,
    ) -> None:
        owner = owner_hotkey or bittensor_core.Keypair.create_from_uri(OWNER_URI).ss58_address
        rules = SubnetRules(
            netuid=netuid,
            tempo=tempo,
            weights_rate_limit=weights_rate_limit,
            min_allowed_weights=min_allowed_weights,
            weights_version=weights_version,
            commit_reveal=commit_reveal,
            owner_hotkey=owner,
            owner_coldkey=next((n.coldkey for n in neurons if n.hotkey == owner), owner),
        )
        self._chain = BlockChain(
            ChainRuntime.load(), rules, _with_owner(neurons, owner), first_block, finality_lag
        )
        if yuma:
            self._chain.pallet.weights.consensus = YumaConsensus(self._chain.storage, netuid)
        self._main = Endpoint(self._chain)
        self.lies = self._main.lies
        self._further: list[Endpoint] = []
        self._block_time_s = block_time_s
        self._producer: asyncio.Task[None] | None = None
        self._sealed = asyncio.Event()

    @property
    def block(self) -> int:
        """Number of the newest block."""
        return self._chain.head.number

    @property
    def url(self) -> str:
        """Websocket URL of its first node, once it is started."""
        return self._main.url

    @property
    def inner(self) -> BlockChain:
        """Its blocks, pool and state, without a server."""
        return self._chain

    @property
    def epoch(self) -> int:
        """Epoch to which the calls of the next block belong."""
        return self._chain.epoch

    @property
    def submitted(self) -> Sequence[tuple[int, Extrinsic]]:
        """(Epoch, extrinsic) of all that the pool took, oldest first."""
        return self._chain.submitted

    @property
    def owner_hotkey(self) -> str:
        return self._chain.rules.owner_hotkey

    def weights(self, uid: int) -> list[tuple[int, int]]:
        """Return the (uid, u16) pairs that neuron `uid` has set; empty before the first."""
        pairs = self._chain.storage.read("Weights", self._chain.rules.netuid, uid)
        return [(int(target), int(weight)) for target, weight in pairs]

    def hotkey_of(self, uid: int) -> str:
        """Return the hotkey that has `uid` now."""
        return str(self._chain.storage.read("Keys", self._chain.rules.netuid, uid))

    def last_update(self, uid: int) -> int:
        """Return the block in which neuron `uid` last set weights; 0 if it never did."""
        return int(self._chain.storage.read("LastUpdate", self._chain.rules.netuid)[uid])

    @property
    def beacon(self) -> Beacon:
        """The beacon whose pulses the chain stores."""
        return self._chain.pallet.weights.beacon

    def commits(self, epoch: int) -> list[tuple[str, int]]:
        """Return (hotkey, block) of the commits of an epoch that are not revealed."""
        rows = self._chain.storage.read("TimelockedWeightCommits", self._chain.rules.netuid, epoch)
        return [(hotkey, int(block)) for hotkey, block, _, _ in rows]

    def write_storage(self, item: str, *parameters: Any, value: Any) -> None:
        """Change a value of the subtensor pallet as a root call would, from the next block on."""
        self._chain.storage.write(item, *parameters, value=value)

    def refuse(self, name: str, pallet: str = "SubtensorModule") -> None:
        """Let the runtime refuse the next call that a block includes, under the name of an error."""
        self._chain.refusals.append(DispatchError(name, pallet))

    def doom(self, status: str) -> None:
        """Let the next extrinsic leave the pool with a status such as "dropped", instead of getting into a block."""
        self._chain.dooms.append(status)

    def upgrade(self, spec_version: int) -> None:
        """Let the next block bring a runtime of another version; see `BlockChain.upgrade`."""
        self._chain.upgrade(spec_version)

    def remove_storage(self, item: str, *parameters: Any) -> None:
        """Remove a value of the subtensor pallet as a root call would, from the next block on."""
        self._chain.storage.remove(item, *parameters)

    def restore_state(self) -> Callable[[], None]:
        """Return what brings the present state back, nonces included; blocks and their number go on."""
        snapshot = self._chain.storage.snapshot()
        return lambda: self._chain.storage.restore(snapshot)

    async def retract(self, count: int, *, keep: bool = True) -> None:
        """Take the newest blocks back, as a fork does; see `BlockChain.retract`."""
        for block in self._chain.retract(count, keep=keep):
            for endpoint in (self._main, *self._further):
                await endpoint.announce_retracted(block)

    def key_of(self, item: str, *parameters: Any) -> str:
        """Return the storage key of a value of the subtensor pallet, in hex."""
        return "0x" + self._chain.runtime.storage_key("SubtensorModule", item, parameters).hex()

    def add_peers(self, uids: Sequence[int], *, ours: int, turn_after: int = 0) -> None:
        """Let other validators vote in each epoch; see `Peers`."""
        chain = self._chain
        chain.pallet.weights.peers = Peers(chain.storage, chain.rules.netuid, uids, ours, turn_after)

    async def wait_for_block(self, number: int) -> None:
        """Wait until block `number` is sealed; raise what ended the making of blocks, if anything did."""
        while self.block < number:
            sealing = asyncio.ensure_future(self._sealed.wait())
            watched = {sealing} if self._producer is None else {sealing, self._producer}
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            sealing.cancel()
            if self._producer is not None and self._producer.done():
                self._producer.result()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Start to serve and to make blocks; return the websocket URL."""
        url = await self._main.open(host, port)
        self._producer = asyncio.create_task(self._produce())
        return url

    async def further_endpoint(self, *, lag_blocks: int = 0, host: str = "127.0.0.1") -> Endpoint:
        """Open another node of the same chain, which lies on request, and may be some blocks behind."""
        endpoint = Endpoint(self._chain, lag_blocks)
        self._further.append(endpoint)
        await endpoint.open(host)
        return endpoint

    async def stop(self) -> None:
        """Close every connection and stop making blocks."""
        if self._producer is not None:
            self._producer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._producer
        for endpoint in (self._main, *self._further):
            await endpoint.close()

    async def _produce(self) -> None:
        while True:
            await asyncio.sleep(self._block_time_s)
            block = self._chain.seal()
            fates, self._chain.fates = self._chain.fates, []
            sealed, self._sealed = self._sealed, asyncio.Event()
            sealed.set()
            for endpoint in (self._main, *self._further):
                await endpoint.announce(block, fates)


def _with_owner(neurons: Sequence[ChainNeuron], owner: str) -> list[ChainNeuron]:
    if any(neuron.hotkey == owner for neuron in neurons):
        return list(neurons)
    burner = ChainNeuron(hotkey=owner, coldkey=owner, ip="", port=0, stake=0.0, validator_permit=False)
    return [*neurons, burner]


async def run(chain: LocalChain, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; the first line on standard output is ``{"url": ...}``."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    url = await chain.start(host, port)
    print(json.dumps({"url": url}), flush=True)
    await stopped.wait()
    await chain.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gaia.localnet.chain.node", description=__doc__)
    parser.add_argument("neurons", type=Path, help="JSON list of neurons, with the fields of ChainNeuron")
    parser.add_argument("--netuid", type=int, default=57)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--block-time", type=float, default=0.25, help="seconds between blocks")
    parser.add_argument("--tempo", type=int, default=10)
    parser.add_argument("--weights-rate-limit", type=int, default=2)
    options = parser.parse_args(arguments)
    chain = LocalChain(
        [ChainNeuron(**fields) for fields in json.loads(options.neurons.read_text())],
        netuid=options.netuid,
        block_time_s=options.block_time,
        tempo=options.tempo,
        weights_rate_limit=options.weights_rate_limit,
    )
    asyncio.run(run(chain, options.host, options.port))


if __name__ == "__main__":
    main()
