"""A chain signer of the benchmark: it answers readings of a subnet that loses a miner at each, and signs nothing."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path
from typing import Any

from gaia.validator.app.meeting.heartbeat import Heart
from gaia.validator.app.meeting.rendezvous import signer_heartbeat_path
from gaia.validator.utils.chain.consensus import (
    ConsensusView,
    MinerRow,
    PermitPlace,
    Prediction,
    ValidatorRow,
)
from gaia.validator.utils.chain.metagraph import Metagraph, Neuron
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.ipc_types import FrameReader, encode_frame
from gaia.validator.utils.signer_messages import (
    ChainRenewed,
    ConsensusViewed,
    FromSigner,
    MetagraphRead,
    NodesRead,
    NodeState,
    ReadConsensus,
    ReadMetagraph,
    ReadNodes,
    RenewChain,
    ToSigner,
)

_BEAT_S = 1.0
_READ_BYTES = 65536
_FIRST_BLOCK = 5_000_000
_VALIDATORS, _DIFFERENCES = 64, 20


def run_signer(settings: dict[str, Any], signer_socket: socket.socket) -> None:
    """Serve `signer_socket` until SIGTERM; `settings` has the numbers of the subnet and of its miners."""
    heart = Heart(signer_heartbeat_path(Path(signer_socket.getsockname())))
    heart.beat()
    asyncio.run(_Signer(settings["netuid"], settings["miners"]).serve(signer_socket, heart))


class _Signer:
    def __init__(self, netuid: int, miners: int) -> None:
        self._netuid = netuid
        self._miners = miners
        self._readings = 0

    async def serve(self, listener: socket.socket, heart: Heart) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        async with await asyncio.start_unix_server(self._converse, sock=listener):
            while not stop.is_set():
                heart.beat()
                try:
                    await asyncio.wait_for(stop.wait(), _BEAT_S)
                except TimeoutError:
                    continue

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames: FrameReader[ToSigner] = FrameReader(ToSigner)
        while data := await reader.read(_READ_BYTES):
            for request in frames.feed(data):
                writer.write(encode_frame(self._answer(request)))
        writer.close()

    def _answer(self, request: ToSigner) -> FromSigner:
        number = request.request_id
        match request:
            case RenewChain():
                return ChainRenewed(request_id=number, age_s=7 * 3600.0, is_new=True)
            case ReadNodes():
                return NodesRead(request_id=number, nodes=[_node()])
            case ReadConsensus():
                return ConsensusViewed(request_id=number, view=_view(self._metagraph()))
        assert isinstance(request, ReadMetagraph)
        self._readings += 1
        return MetagraphRead(request_id=number, metagraph=self._metagraph())

    def _metagraph(self) -> Metagraph:
        """Return the subnet: ourselves, and miners of which another has just been replaced."""
        block = _FIRST_BLOCK + self._readings
        neurons = [self._neuron(uid, uid, block) for uid in range(self._miners)]
        replaced = self._readings % self._miners
        neurons[replaced] = self._neuron(replaced, self._miners + self._readings, block)
        own = self._neuron(self._miners, 10**6, block)
        return Metagraph(
            netuid=self._netuid,
            block=block,
            neurons=[*neurons, own],
            own_hotkey=own.hotkey,
            own_uid=own.uid,
            tempo=360,
            epoch=block // 360,
            next_epoch_block=(block // 360 + 1) * 360,
            weights_rate_limit=100,
            min_allowed_weights=1,
            weights_version=0,
            commit_reveal=False,
            owner_hotkey="",
        )

    def _neuron(self, uid: int, number: int, block: int) -> Neuron:
        return Neuron(
            uid=uid,
            hotkey=Hotkey(f"5{number:047d}"),
            coldkey="",
            ip="127.0.0.1",
            port=8091,
            stake=1000.0,
            validator_permit=uid == self._miners,
            last_update=block - 10,
            registered_at=number,
        )


def _node() -> NodeState:
    return NodeState(
        name="127.0.0.1:9944", block=_FIRST_BLOCK, is_up=True, is_trusted=True, contradictions=0, problem=""
    )


def _view(graph: Metagraph) -> ConsensusView:
    """Return a view of the size that the live network gives."""
    own = graph.neurons[-1]
    trust = Prediction(validator_trust=0.9, dividends=1 / _VALIDATORS)
    return ConsensusView(
        hotkey=own.hotkey,
        uid=own.uid,
        block=graph.block,
        epoch=graph.epoch,
        next_epoch_block=graph.block + 1,
        validator_trust=trust.validator_trust,
        dividends=trust.dividends,
        emission=1.0,
        emission_per_day=20.0,
        standing=trust,
        proposed=None,
        permit=PermitPlace(rank=1, places=_VALIDATORS, margin=1.0),
        validators=[
            ValidatorRow(
                uid=neuron.uid,
                hotkey=neuron.hotkey,
                stake=1 / _VALIDATORS,
                age_blocks=100,
                validator_trust=trust.validator_trust,
                dividends=trust.dividends,
                distance=0.1,
            )
            for neuron in graph.neurons[-_VALIDATORS:]
        ],
        miners=[
            MinerRow(uid=neuron.uid, hotkey=neuron.hotkey, ours=0.1, others=0.2, consensus=0.2, clipped=0.0)
            for neuron in graph.neurons[:_DIFFERENCES]
        ],
    )
