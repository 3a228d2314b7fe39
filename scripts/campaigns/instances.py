"""Starts a second signer with the same key, and checks that the first ends before its second signature."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import socket
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaigns.signer import Signer
from gaia.localnet.chain.node import ChainNeuron, LocalChain
from gaia.localnet.wallets import VALIDATOR_URI, keypair, miner_uri, write_hotkey
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.utils.errors import ConfigurationError, ExitCode, GaiaError, SigningRefused
from gaia.validator.utils.signer_messages import JournalledVector, digest_of

_NETUID = 57
_TEMPO = 24
_BLOCK_S = 0.1
_CHAIN_TIMEOUT_S = 20.0
_PATIENCE_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=int, default=100, help="pairs of signers (100)")
    parser.add_argument("--seed", type=int, default=4, help="decides vectors, kills and the owner's mind (4)")
    parser.add_argument("--patience", type=float, default=1.0, help="all times are so many times longer (1)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Try pairs of signers on one local chain; return {figures, ratios, violations}."""
    with tempfile.TemporaryDirectory(prefix="instances-") as folder:
        chance = random.Random(arguments.seed)
        return asyncio.run(_campaign(Path(folder), arguments.trials, chance, arguments.patience))


async def _campaign(folder: Path, trials: int, chance: random.Random, patience: float) -> dict[str, Any]:
    hotkeys = [str(keypair(uri).ss58_address) for uri in (VALIDATOR_URI, *map(miner_uri, range(4)))]
    neurons = [
        ChainNeuron(hotkey=hotkey, coldkey=hotkey, ip="", port=0, stake=2000.0, validator_permit=True)
        for hotkey in hotkeys
    ]
    block_s = _BLOCK_S * patience
    chain = LocalChain(neurons, netuid=_NETUID, block_time_s=block_s, tempo=_TEMPO, weights_rate_limit=1)
    found = Found()
    began = time.monotonic()
    url = await chain.start()
    try:
        for number in range(trials):
            await _trial(chain, url, folder / str(number), chance, found, patience)
    finally:
        await chain.stop()
    return {
        "figures": {
            "trials": trials,
            "stopped_before_the_second_signature": found.stopped,
            "kills_of_the_first": found.kills,
            "ways": dict(sorted(found.ways.items())),
            "seconds": round(time.monotonic() - began, 1),
        },
        "ratios": {"three_by_trials": round(3 / max(1, trials), 3)},
        "violations": found.violations,
    }


@dataclass
class Found:
    """What the trials have shown."""

    stopped: int = 0
    kills: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    """Way of the first instance's and of the second's vote -> trials."""
    violations: list[str] = field(default_factory=list)


async def _trial(
    chain: LocalChain, url: str, folder: Path, chance: random.Random, found: Found, patience: float
) -> None:
    """Let one instance vote, then another; the first must end, and the second must go on."""
    with ExitStack() as sockets:
        one, other = (Instance(url, folder / name, sockets, patience) for name in ("one", "other"))
        try:
            way = _change_mind(chain, chance)
            await one.vote(chain)
            if chance.random() < 0.5:
                await one.signer.kill()
                found.kills += 1
            await one.is_well("the first instance alone", found)
            way += f", {_change_mind(chain, chance)}"
            await other.vote(chain)
            if chance.random() < 0.5:
                await one.signer.kill()
                found.kills += 1
            before = len(chain.submitted)
            ended = await one.ends(chain)
            signed = len(chain.submitted) - before
            if ended and not signed:
                found.stopped += 1
            else:
                found.violations.append(f"{folder.name} ({way}): {signed} signatures, ended: {ended}")
            await other.is_well("the second instance", found)
            found.ways[way] += 1
        finally:
            for instance in (one, other):
                await instance.end()


def _change_mind(chain: LocalChain, chance: random.Random) -> str:
    """Let the owner choose between plain and sealed weights; return the choice."""
    is_sealed = chance.random() < 0.5
    chain.write_storage("CommitRevealWeightsEnabled", _NETUID, value=is_sealed)
    return "sealed" if is_sealed else "plain"


class Instance:
    """A signer with a key that another has too, and a record of its own."""

    def __init__(self, url: str, folder: Path, sockets: ExitStack, patience: float) -> None:
        write_hotkey(folder / "wallets", "validator", "default", VALIDATOR_URI)
        path = folder / "signer.sock"
        listener = sockets.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen()
        self.signer = Signer(url, folder, listener)
        self._client = SignerClient(path, _CHAIN_TIMEOUT_S * patience)
        self._patience_s = _PATIENCE_S * patience

    async def vote(self, chain: LocalChain) -> None:
        """Set or commit a vector, in the first epoch that allows it."""
        async with asyncio.timeout(self._patience_s):
            while True:
                try:
                    await self._try()
                except GaiaError as error:
                    if "another program signs" in str(error):
                        raise
                    # The end of an epoch, weights of it that the record lacks, a new rule, a killed signer.
                    await chain.wait_for_block(chain.block + 1)
                else:
                    return

    async def ends(self, chain: LocalChain) -> bool:
        """Want to vote until the signer ends the validator; return whether it does."""
        refusals = 0
        async with asyncio.timeout(self._patience_s):
            while True:
                try:
                    await self._try()
                except SigningRefused as error:
                    refusals += "another program signs" in str(error)
                except ConfigurationError as error:
                    return error.exit_code is ExitCode.SECOND_INSTANCE and refusals > 0
                except GaiaError:
                    pass
                else:
                    return False
                await chain.wait_for_block(chain.block + 1)

    async def is_well(self, who: str, found: Found) -> None:
        """Note a violation if the signer does not know its own weights."""
        async with asyncio.timeout(self._patience_s):
            while True:
                try:
                    await self._client.check_update()
                except (SigningRefused, ConfigurationError) as error:
                    found.violations.append(f"false alarm of {who}: {error}")
                    return
                except GaiaError:
                    await asyncio.sleep(_BLOCK_S)
                else:
                    return

    async def end(self) -> None:
        await self._client.close()
        await self.signer.end(signal.SIGTERM)

    async def _try(self) -> None:
        graph = await self._client.read_metagraph()
        vector = self._a_vector(graph.epoch)
        if graph.commit_reveal:
            await self._client.commit_weights(vector, await self._client.seal_weights(vector))
        else:
            await self._client.set_weights(vector)

    def _a_vector(self, epoch: int) -> JournalledVector:
        """Return a vector of an epoch, the same one each time."""
        weight = random.Random(f"{id(self)} {epoch}").randrange(1, 65535)
        pairs = [[0, weight], [1, 65535]]
        return JournalledVector(
            epoch=epoch, uids=[0, 1], weights=[weight, 65535], version_key=4000, sha256=digest_of(pairs)
        )
