"""Attacks the chain signer as an engine that was taken over, and checks what leaves it: one vector an epoch at most."""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gaia.localnet.chain.beacon import KNOWN_ROUND, KNOWN_SIGNATURE
from gaia.localnet.chain.commits import as_bytes, read_payload
from gaia.localnet.chain.node import ChainNeuron, LocalChain
from gaia.localnet.wallets import VALIDATOR_URI, keypair, miner_uri, write_hotkey
from gaia.validator.app.chain_signer import run_chain_signer
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.core.chain.timelock import opened
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import GaiaError, SigningRefused
from gaia.validator.utils.ipc_types import encode_frame
from gaia.validator.utils.signer_messages import JournalledVector, SealedWeights, SetWeights, digest_of

if TYPE_CHECKING:
    from gaia.localnet.chain.extrinsics import Extrinsic

_NETUID = 57
_TEMPO = 30
_BLOCK_S = 0.1
_AT_ONCE = 48
_CHAIN_TIMEOUT_S = 20.0
_START_S = 60.0
_TOGGLED_EVERY = 400
"""Frames between two changes of the owner's mind about commit-reveal."""
_KILLED_EVERY = 1000
"""Frames between two kills of the signer."""
_WAYS = {"auth": 30, "garbage": 25, "bent": 25, "elsewhere": 8, "vector": 6, "seal": 3, "commit": 3}
"""Way of an attack -> its part in a hundred."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--frames", type=int, default=100_000, help="requests to the signer (100,000)")
    parser.add_argument("--seed", type=int, default=4, help="decides what is sent (4)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Attack a signer on a local chain; return {figures, ratios, violations}."""
    with tempfile.TemporaryDirectory(prefix="signer-chaos-") as folder:
        return asyncio.run(_campaign(Path(folder), arguments.frames, arguments.seed))


async def _campaign(folder: Path, frames: int, seed: int) -> dict[str, Any]:

    own = str(keypair(VALIDATOR_URI).ss58_address)
    miners = [str(keypair(miner_uri(number)).ss58_address) for number in range(4)]
    chain = LocalChain(
        [_neuron(hotkey) for hotkey in (own, *miners)],
        netuid=_NETUID,
        block_time_s=_BLOCK_S,
        tempo=_TEMPO,
        weights_rate_limit=1,
    )
    write_hotkey(folder / "wallets", "validator", "default", VALIDATOR_URI)
    path = folder / "signer.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        signer = Signer(await chain.start(), folder, listener)
        attack = Attack(
            random.Random(seed), chain, SignerClient(path, _CHAIN_TIMEOUT_S), path, miners, signer
        )
        began = time.monotonic()
        try:
            await attack.run(frames)
        finally:
            await attack.client.close()
            await signer.end(signal.SIGTERM)
            await chain.stop()
    return _judged(attack, own, time.monotonic() - began)


class Signer:
    """A signer in a process of its own, which may be killed and started again on the same socket."""

    def __init__(self, endpoint: str, folder: Path, listener: socket.socket) -> None:
        self._arguments = endpoint, str(folder), listener
        self._process = self._started()
        self.kills = 0

    async def kill(self) -> None:
        """Kill it with SIGKILL, and start another."""
        await self.end(signal.SIGKILL)
        self.kills += 1
        self._process = self._started()

    async def end(self, number: signal.Signals) -> None:
        """Send it a signal that ends it, and wait."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)
        await asyncio.to_thread(self._process.join)

    def _started(self) -> BaseProcess:
        process = multiprocessing.get_context("spawn").Process(target=_sign, args=self._arguments)
        process.start()
        return process


def _neuron(hotkey: str) -> ChainNeuron:
    return ChainNeuron(hotkey=hotkey, coldkey=hotkey, ip="", port=0, stake=2000.0, validator_permit=True)


def _sign(endpoint: str, folder: str, listener: socket.socket) -> None:

    # What the signer says of the attack goes to its log file alone.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    settings = Settings(
        netuid=_NETUID,
        chain_endpoint=endpoint,
        chain_timeout_s=_CHAIN_TIMEOUT_S,
        wallet_name="validator",
        wallet_path=Path(folder) / "wallets",
        data_dir=Path(folder) / "data",
        beacon_round=KNOWN_ROUND,
    )
    run_chain_signer(settings.signer, listener)


@dataclass
class Attack:
    """Sends requests of every kind, good and bad, and notes the answers."""

    chance: random.Random
    chain: LocalChain
    client: SignerClient
    path: Path
    miners: list[str]
    signer: Signer
    answers: Counter[str] = field(default_factory=Counter)
    """ "<way>: <outcome>" -> number."""
    misuse: list[str] = field(default_factory=list)
    """Signatures that ought to have been refused."""
    alarms: list[str] = field(default_factory=list)
    """Refusals because of a second instance, which is not there."""
    _sealed: list[tuple[JournalledVector, SealedWeights]] = field(default_factory=list)
    _chosen: dict[int, JournalledVector] = field(default_factory=dict)
    """Epoch -> the vector that is asked for again and again."""

    async def run(self, frames: int) -> None:
        """Send `frames` requests, many at once; kill the signer now and then."""
        await self._is_up()
        ways = self.chance.choices(list(_WAYS), list(_WAYS.values()), k=frames)
        kinds: dict[str, Callable[[], Awaitable[str]]] = {
            "auth": self._auth,
            "garbage": self._garbage,
            "bent": self._bent,
            "elsewhere": self._elsewhere,
            "vector": self._vector,
            "seal": self._seal,
            "commit": self._commit,
        }
        for start in range(0, frames, _AT_ONCE):
            if start // _KILLED_EVERY != (start + _AT_ONCE) // _KILLED_EVERY:
                await self.signer.kill()
                await self._is_up()
            if start // _TOGGLED_EVERY != (start + _AT_ONCE) // _TOGGLED_EVERY:
                is_on = self.chance.random() < 0.5
                self.chain.write_storage("CommitRevealWeightsEnabled", _NETUID, value=is_on)
            batch = ways[start : start + _AT_ONCE]
            outcomes = await asyncio.gather(*(self._outcome(kinds[way]) for way in batch))
            self.answers.update(f"{way}: {outcome}" for way, outcome in zip(batch, outcomes, strict=True))

    async def _is_up(self) -> None:
        async with asyncio.timeout(_START_S):
            while True:
                with suppress(GaiaError):
                    await self.client.read_metagraph()
                    return

    async def _outcome(self, way: Callable[[], Awaitable[str]]) -> str:
        try:
            return await way()
        except GaiaError as error:
            if "another program signs" in str(error):
                self.alarms.append(str(error))
            return "refused" if isinstance(error, SigningRefused) else "failed"

    async def _auth(self) -> str:
        good = self.chance.random() < 0.5
        hotkey = self.chance.choice(self.miners)
        key_id = "".join(self.chance.choices("0123456789abcdef", k=64))
        if not good:
            hotkey, key_id = self.chance.choice(
                [
                    (hotkey[:-1] + ("A" if hotkey[-1] != "A" else "B"), key_id),
                    (f"{hotkey}\n{hotkey}", key_id),
                    ("x" * self.chance.randrange(5000), key_id),
                    (hotkey, key_id + ":" + key_id),
                    (hotkey, key_id[:10] + "\x00"),
                    (hotkey, ""),
                    (hotkey, key_id * 80),
                ]
            )
        await self.client.sign_auth(hotkey, key_id)
        if not good:
            self.misuse.append(f"headers for {hotkey[:60]!r} and {key_id[:60]!r}")
        return "signed"

    async def _garbage(self) -> str:
        """Send bytes that are no request, or one with some of its bytes changed."""
        frame = bytearray(encode_frame(SetWeights(request_id=1, vector=self._a_vector(0))))
        if self.chance.random() < 0.5:
            frame = bytearray(self.chance.randbytes(self.chance.randrange(1, 300)))
        for _ in range(self.chance.randrange(1, 4)):
            frame[self.chance.randrange(len(frame))] = self.chance.randrange(256)
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(frame)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return "answered" if answer else "dropped"

    async def _bent(self) -> str:
        """Ask for a vector that is none, or not the one of its digest."""
        vector = self._a_vector(self._epoch())
        changes: Mapping[str, Any] = self.chance.choice(
            [
                {"sha256": "0" * 64},
                {"weights": [*vector.weights[:-1], vector.weights[-1] ^ 1]},
                {"uids": vector.uids[:-1]},
                {"uids": [70_000, *vector.uids[1:]]},
                {"weights": [-1, *vector.weights[1:]]},
                {"uids": [], "weights": []},
                {"uids": [1] * 5000, "weights": [65535] * 5000},
                {"version_key": -1},
            ]
        )
        await self.client.set_weights(msgspec.structs.replace(vector, **changes))
        self.misuse.append(f"a vector with {sorted(changes)} changed")
        return "set"

    async def _elsewhere(self) -> str:
        """Ask for a vector of an epoch that is over, or has not begun."""
        away = self.chance.choice([-1, -2, 2, 3, 1000, 10**9, -(10**9)])
        await self.client.set_weights(self._a_vector(self._epoch() + away))
        self.misuse.append(f"a vector {away} epochs away")
        return "set"

    async def _vector(self) -> str:
        await self.client.set_weights(self._a_vector(self._epoch()))
        return "set"

    async def _seal(self) -> str:
        vector = self._a_vector(self._epoch())
        self._sealed.append((vector, await self.client.seal_weights(vector)))
        return "sealed"

    async def _commit(self) -> str:

        forged = SealedWeights(
            ciphertext=self.chance.randbytes(200), reveal_round=9, epoch=self._epoch(), reveal_epoch=9
        )
        if not self._sealed or self.chance.random() < 0.5:
            await self.client.commit_weights(self._a_vector(self._epoch()), forged)
            self.misuse.append("a forged commit")
            return "committed"
        vector, sealed = self._sealed[-1]
        chance = self.chance.random()
        if chance < 0.3:
            sealed = msgspec.structs.replace(sealed, epoch=sealed.epoch + 1)
        elif chance < 0.6:
            # Another vector may have the uids that the commit no longer ought to pay.
            other = self._of_others(vector)
            await self.client.commit_weights(other, sealed)
            self.misuse.append("a commit under another vector")
        await self.client.commit_weights(vector, sealed)
        return "committed"

    def _of_others(self, vector: JournalledVector) -> JournalledVector:
        """Return a vector with the same uids for other owners, or with a digest that is not its own."""
        plain: Mapping[str, Any] = {"hotkeys": [], "registered": []}
        changes: Mapping[str, Any] = self.chance.choice(
            [
                {**plain, "sha256": vector.promise},
                {**plain, "sha256": vector.promise, "weights": [65535]},
                {"registered": [each + 1 for each in vector.registered]},
                {"burner": self.miners[0]},
                {"hotkeys": list(reversed(vector.hotkeys))},
            ]
        )
        return msgspec.structs.replace(vector, **changes)

    def _epoch(self) -> int:
        return self.chain.epoch

    def _a_vector(self, epoch: int) -> JournalledVector:
        """Return a vector of an epoch; every other time the same one, so that some of them are signed."""
        fresh = self._fresh_vector(epoch)
        return fresh if self.chance.random() < 0.5 else self._chosen.setdefault(epoch, fresh)

    def _fresh_vector(self, epoch: int) -> JournalledVector:

        uids = sorted(self.chance.sample(range(5), self.chance.randrange(2, 6)))
        weights = [self.chance.randrange(1, 65535) for _ in uids]
        weights[self.chance.randrange(len(weights))] = 65535
        digest = digest_of(zip(uids, weights, strict=True))
        return JournalledVector(
            epoch=epoch,
            uids=uids,
            weights=weights,
            version_key=4000,
            sha256=digest,
            hotkeys=[self.chain.hotkey_of(uid) for uid in uids],
            registered=[0] * len(uids),
        )


def _judged(attack: Attack, own: str, seconds: float) -> dict[str, Any]:
    vectors: defaultdict[int, set[str]] = defaultdict(set)
    others = []
    for epoch, extrinsic in attack.chain.submitted:
        vector = _vector_in(extrinsic)
        if extrinsic.signer != own or vector is None:
            others.append(f"{extrinsic.pallet}.{extrinsic.function}")
        else:
            vectors[epoch].add(vector)
    doubled = [epoch for epoch, those in sorted(vectors.items()) if len(those) > 1]
    violations = [f"epoch {epoch} has {len(vectors[epoch])} vectors" for epoch in doubled]
    violations += [f"signed: {each}" for each in (*attack.misuse[:10], *others[:10])]
    violations += [f"false alarm: {each}" for each in attack.alarms[:10]]
    if not vectors:
        violations.append("no vector left the signer, so that nothing was tried")
    frames = sum(attack.answers.values())
    return {
        "figures": {
            "frames": frames,
            "kills": attack.signer.kills,
            "epochs": len(vectors),
            "extrinsics": len(attack.chain.submitted),
            "epochs_with_two_vectors": len(doubled),
            "signatures_that_ought_to_be_refused": len(attack.misuse) + len(others),
            "false_alarms_of_a_second_instance": len(attack.alarms),
            "answers": dict(sorted(attack.answers.items())),
            "seconds": round(seconds, 1),
        },
        "ratios": {"three_by_frames": round(3 / max(1, frames), 6)},
        "violations": violations,
    }


def _vector_in(extrinsic: Extrinsic) -> str | None:
    """Return the vector that an extrinsic sets or commits; None if it does something else."""
    arguments: Mapping[str, Any] = extrinsic.arguments
    if extrinsic.function == "commit_timelocked_mechanism_weights":
        try:
            arguments = read_payload(opened(as_bytes(arguments["commit"]), KNOWN_SIGNATURE), extrinsic.signer)
        except ValueError:
            return None
    elif extrinsic.function != "set_mechanism_weights":
        return None
    return f"{arguments['dests']} {arguments['weights']}"
