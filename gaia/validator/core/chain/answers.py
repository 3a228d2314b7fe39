"""Converts the chain's answers to our types."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from gaia.validator.utils.chain.metagraph import ACTIVITY_CUTOFF, RAO_PER_TOKEN, Metagraph, Neuron
from gaia.validator.utils.identities import Hotkey

if TYPE_CHECKING:
    from gaia.validator.core.chain.epochs import EpochSchedule

MISREAD: Final = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""Errors that an answer of another shape causes, in the SDK and here."""
_U16_MAX = 65535
_IPV4 = 4
_NOBODY = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"
"""The all-zero account, which the chain returns if no owner is set."""
_PER_NEURON = (
    "coldkeys",
    "axons",
    "total_stake",
    "validator_permit",
    "last_update",
    "block_at_registration",
)


def metagraph_of(
    graph: Mapping[str, Any], schedule: EpochSchedule, netuid: int, own_hotkey: str
) -> Metagraph:
    """Return the metagraph that a runtime API told, with the epochs at its block; raise one of `MISREAD`."""
    hotkeys = [str(hotkey) for hotkey in graph["hotkeys"]]
    lengths = {name: len(graph[name]) for name in _PER_NEURON}
    if set(lengths.values()) - {len(hotkeys)}:
        raise ValueError(f"{len(hotkeys)} hotkeys, but other columns have the lengths {lengths}")
    if len(set(hotkeys)) != len(hotkeys):
        raise ValueError("a hotkey occurs twice")
    owner = str(graph["owner_hotkey"])
    own_uid = hotkeys.index(own_hotkey) if own_hotkey in hotkeys else None
    dividends, emission = (_own(graph, column, own_uid) for column in ("dividends", "emission"))
    return Metagraph(
        netuid=netuid,
        block=int(graph["block"]),
        neurons=[_neuron(graph, uid, Hotkey(hotkey)) for uid, hotkey in enumerate(hotkeys)],
        own_hotkey=own_hotkey,
        own_uid=own_uid,
        tempo=schedule.tempo,
        epoch=schedule.epoch_of_commit(),
        next_epoch_block=schedule.next_start() if schedule.tempo else None,
        epoch_first_block=schedule.first_block_of_commits() if schedule.tempo else None,
        weights_rate_limit=int(graph["weights_rate_limit"]),
        min_allowed_weights=int(graph["min_allowed_weights"]),
        max_weights_limit=int(graph["max_weights_limit"]),
        weights_version=int(graph["weights_version"]),
        activity_cutoff=int(graph.get("activity_cutoff") or ACTIVITY_CUTOFF),
        commit_reveal=bool(graph["commit_reveal_weights_enabled"]),
        owner_hotkey="" if owner == _NOBODY else owner,
        own_dividends=None if dividends is None else dividends / _U16_MAX,
        own_emission=None if emission is None else emission / RAO_PER_TOKEN,
    )


def _own(graph: Mapping[str, Any], column: str, own_uid: int | None) -> int | None:
    """Return our value in a column that runtimes may lack."""
    values = graph.get(column) or ()
    return int(values[own_uid]) if own_uid is not None and own_uid < len(values) else None


def _neuron(graph: Mapping[str, Any], uid: int, hotkey: Hotkey) -> Neuron:
    axon = graph["axons"][uid]
    ip = _dotted_quad(axon)
    return Neuron(
        uid=uid,
        hotkey=hotkey,
        coldkey=str(graph["coldkeys"][uid]),
        ip=ip,
        port=int(axon["port"]) if ip else 0,
        stake=int(graph["total_stake"][uid]) / RAO_PER_TOKEN,
        validator_permit=bool(graph["validator_permit"][uid]),
        last_update=int(graph["last_update"][uid]),
        registered_at=int(graph["block_at_registration"][uid]),
    )


def _dotted_quad(axon: Mapping[str, Any]) -> str:
    """Return the IPv4 address; "" for none, IPv6 or an invalid one."""
    ip = int(axon["ip"])
    if not 0 < ip < 2**32 or int(axon["ip_type"]) != _IPV4 or not int(axon["port"]):
        return ""
    return str(ipaddress.IPv4Address(ip))
