"""The neurons of a subnet, as the metagraph tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gaia.localnet.chain.storage import ChainStorage

UNSERVED: Final[Mapping[str, int]] = {
    "block": 0,
    "version": 0,
    "ip": 0,
    "port": 0,
    "ip_type": 0,
    "protocol": 0,
    "placeholder1": 0,
    "placeholder2": 0,
}
"""The axon of a neuron that serves none."""
_COLUMNS = {"active": "Active", "last_update": "LastUpdate", "validator_permit": "ValidatorPermit"}


def neurons_of(storage: ChainStorage, netuid: int) -> list[dict[str, Any]]:
    """Return every row of the subnet by uid, under the metagraph's names."""
    read = storage.read
    columns = {name: read(item, netuid) for name, item in _COLUMNS.items()}
    rows = []
    for uid in range(read("SubnetworkN", netuid)):
        hotkey = read("Keys", netuid, uid)
        rows.append(
            {name: values[uid] for name, values in columns.items()}
            | {
                "uid": uid,
                "hotkey": hotkey,
                "coldkey": read("Owner", hotkey),
                "axon": read("Axons", netuid, hotkey) or dict(UNSERVED),
                "stake": read("TotalHotkeyAlpha", hotkey, netuid),
                "block_at_registration": read("BlockAtRegistration", netuid, uid),
            }
        )
    return rows
