"""Things a test needs, with dull defaults, so that only what matters is in sight."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gaia.validator.utils.chain.consensus import ConsensusView, PermitPlace, Prediction
from gaia.validator.utils.chain.metagraph import Metagraph, Neuron
from gaia.validator.utils.identities import JobId
from gaia.validator.utils.ipc_types import WorkUnit
from tests.support.patience import patience


def a_unit(job_id: str = "job", **changes: Any) -> WorkUnit:
    """A unit with a minute to live, or more on a busy machine."""
    values: dict[str, Any] = {
        "handler": "test.echo",
        "payload": {},
        "deadline_at": time.time() + patience(60.0),
    }
    return WorkUnit(job_id=JobId(job_id), **(values | changes))


def a_field(
    shape: tuple[int, int] = (181, 360), mean: float = 280.0, spread: float = 10.0, seed: int = 0
) -> npt.NDArray[np.float32]:
    """A smooth field in float32, dims (lat, lon): waves of random phase about `mean`."""
    rng = np.random.default_rng(seed)
    lat = np.linspace(np.pi / 2, -np.pi / 2, shape[0])[:, None]
    lon = np.linspace(0.0, 2 * np.pi, shape[1], endpoint=False)[None, :]
    field = np.zeros(shape)
    for wave in range(1, 5):
        field += rng.normal() * np.cos(wave * lon + rng.uniform(0, 2 * np.pi)) * np.cos(lat) ** wave
    return (mean + spread * field).astype(np.float32)


def a_neuron(uid: int = 1, **changes: Any) -> Neuron:
    """A miner that serves an axon on loopback."""
    values: dict[str, Any] = {
        "hotkey": f"5Hotkey{uid:03d}",
        "coldkey": f"5Coldkey{uid:03d}",
        "ip": f"127.0.1.{uid % 250 + 1}",
        "port": 33334,
        "stake": 0.0,
        "validator_permit": False,
        "last_update": 0,
        "registered_at": 1,
    }
    return Neuron(uid=uid, **(values | changes))


def a_metagraph(neurons: Sequence[Neuron] | None = None, **changes: Any) -> Metagraph:
    """A subnet of three miners and ourselves, who are uid 0 and may set weights."""
    ourselves = a_neuron(0, hotkey="5Validator", ip="", port=0, stake=1000.0, validator_permit=True)
    values: dict[str, Any] = {
        "netuid": 57,
        "block": 1000,
        "neurons": list(neurons) if neurons is not None else [ourselves, *map(a_neuron, range(1, 4))],
        "own_hotkey": "5Validator",
        "own_uid": 0,
        "tempo": 360,
        "epoch": 2,
        "next_epoch_block": 1080,
        "weights_rate_limit": 100,
        "min_allowed_weights": 1,
        "weights_version": 0,
        "commit_reveal": False,
        "owner_hotkey": "5Owner",
    }
    return Metagraph(**(values | changes))


def a_consensus_view(**changes: Any) -> ConsensusView:
    """Our validator beside none, in epoch 2, with a trust of 0.9 in the last epoch and in the next."""
    values: dict[str, Any] = {
        "hotkey": "5Validator",
        "uid": 0,
        "block": 1000,
        "epoch": 2,
        "next_epoch_block": 1080,
        "validator_trust": 0.9,
        "dividends": 0.25,
        "emission": 36.0,
        "emission_per_day": 720.0,
        "standing": Prediction(validator_trust=0.9, dividends=0.25),
        "proposed": None,
        "permit": PermitPlace(rank=1, places=64, margin=1000.0),
        "validators": [],
        "miners": [],
    }
    return ConsensusView(**(values | changes))
