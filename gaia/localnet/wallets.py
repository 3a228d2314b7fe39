"""Keys of a rehearsal: well-known secrets, written as wallet files for the SDK."""

from __future__ import annotations

import json
import os
from pathlib import Path

import bittensor_core

VALIDATOR_URI = "//Validator"


def miner_uri(number: int) -> str:
    """Return the secret of the rehearsal's miner `number`."""
    return f"//Miner/{number}"


def keypair(uri: str) -> bittensor_core.Keypair:
    """Return the sr25519 key derived from a secret such as ``//Validator``."""
    return bittensor_core.Keypair.create_from_uri(uri)


def write_hotkey(folder: Path, name: str, hotkey: str, uri: str) -> str:
    """Write `<folder>/<name>/hotkeys/<hotkey>`, unencrypted and readable only by its owner.

    Returns
    -------
    str
        The hotkey's ss58 address.
    """
    key = keypair(uri)
    path = folder / name / "hotkeys" / hotkey
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    content = bittensor_core.serialized_keypair_to_keyfile_data(key)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content if isinstance(content, bytes) else json.dumps(content).encode())
    return str(key.ss58_address)
