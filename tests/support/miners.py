"""Miners and signers for tests: small forecasts, loopback addresses, development keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from bittensor_core import Keypair

from gaia.miner.inference import Field, Persistence
from gaia.miner.jobs import MinerOptions
from gaia.validator.core.miners.session import fresh_nonce
from gaia.validator.utils.chain.metagraph import Neuron
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.settings.miners import MinersSettings
from gaia.validator.utils.signer_messages import AuthSigned
from tests.support.patience import patience

INIT_TIME = datetime(2026, 3, 25, tzinfo=UTC)
VALIDATOR_URI = "//Validator"


class LocalSigner:
    """Signs with a development key in this process."""

    def __init__(self, uri: str = VALIDATOR_URI) -> None:
        self.keypair = Keypair.create_from_uri(uri)
        self.nonce = fresh_nonce
        self.asked: list[tuple[str, str]] = []

    async def sign_auth(self, miner_hotkey: str, symmetric_key_uuid: str) -> AuthSigned:
        self.asked.append((miner_hotkey, symmetric_key_uuid))
        nonce = self.nonce()
        message = f"{nonce}:{miner_hotkey}:{symmetric_key_uuid}"
        return AuthSigned(
            request_id=len(self.asked),
            validator_hotkey=self.keypair.ss58_address,
            nonce=nonce,
            signature=f"0x{self.keypair.sign(message.encode()).hex()}",
        )


def a_neuron(hotkey: str, ip: str = "127.0.0.1", port: int = 33333) -> Neuron:
    return Neuron(
        uid=1,
        hotkey=Hotkey(hotkey),
        coldkey=hotkey,
        ip=ip,
        port=port,
        stake=0.0,
        validator_permit=False,
        last_update=0,
        registered_at=0,
    )


def settings_for_miners(**changes: Any) -> MinersSettings:
    """Settings that speak to loopback, and are impatient."""
    return MinersSettings(**{"allow_private_miners": True, "miner_timeout_s": patience(5.0), **changes})


def an_atmosphere(init_time: datetime = INIT_TIME) -> dict[str, Field]:
    """Smooth, plausible fields on the 1-degree grid."""
    lat = np.linspace(90.0, -90.0, 181, dtype=np.float32)[:, np.newaxis]
    lon = np.arange(360, dtype=np.float32)[np.newaxis, :]
    wave = np.cos(np.radians(lat)) * np.sin(np.radians(3 * lon))
    fields = {"2t": 270.0 + 20.0 * wave, "msl": 101_000.0 + 900.0 * wave, "z500": 55_000.0 + 500.0 * wave}
    return {name: field.astype(np.float32) for name, field in fields.items()}


def a_model() -> Persistence:
    return Persistence(an_atmosphere)


def miner_options(directory: Path, **changes: Any) -> MinerOptions:
    """Two steps at one degree: ready in a moment."""
    return MinerOptions(**{"directory": directory, "grid": "1.0", "steps": 2, **changes})
