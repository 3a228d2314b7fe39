"""The calls of the subtensor pallet (registration, axons, weights), with the runtime's checks in its order."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gaia.localnet.chain.calls import Arguments, DispatchError, Event
from gaia.localnet.chain.subnet.membership import ROOT_NETUID, Membership
from gaia.localnet.chain.subnet.neurons import UNSERVED
from gaia.localnet.chain.subnet.owner import OwnerCalls
from gaia.localnet.chain.weights import WeightCalls
from gaia.validator.utils.chain.metagraph import RAO_PER_TOKEN

if TYPE_CHECKING:
    from gaia.localnet.chain.storage import ChainStorage


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainNeuron:
    """One registration at genesis; the address "" means that it serves no axon."""

    hotkey: str
    coldkey: str
    ip: str
    port: int
    stake: float
    """Stake in tokens."""
    validator_permit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetRules:
    """Hyperparameters of the one subnet."""

    netuid: int
    tempo: int
    weights_rate_limit: int
    """Blocks between two weight settings of one neuron."""
    min_allowed_weights: int
    weights_version: int
    commit_reveal: bool
    owner_hotkey: str
    owner_coldkey: str


class SubtensorPallet:
    """The calls of the pallet that validators and miners use.

    The order of the checks is that of `pallets/subtensor`, weights.rs and serving.rs, at
    spec 425.
    """

    def __init__(self, storage: ChainStorage, netuid: int, block_number: Callable[[], int]) -> None:
        self._storage = storage
        self._block_number = block_number
        self.weights = WeightCalls(storage, netuid, block_number)
        self.members = Membership(storage, block_number)
        self._calls: dict[str, Callable[[str, Arguments], list[Event]]] = {
            "set_weights": self.weights.set,
            "set_mechanism_weights": self.weights.set,
            "commit_timelocked_weights": self.weights.commit,
            "commit_timelocked_mechanism_weights": self.weights.commit,
            "serve_axon": self._serve_axon,
            "burned_register": self.members.burned_register,
            "swap_hotkey": self.members.swap_hotkey,
            "sudo_trim_to_max_allowed_uids": self.members.trim,
            **OwnerCalls(storage, self.weights.epochs, block_number).calls,
        }

    def dispatch(self, signer: str, function: str, arguments: Arguments) -> list[Event]:
        """Execute one call; return its events.

        Raises
        ------
        DispatchError
            If the runtime would refuse it. The caller rolls the storage back.
        """
        call = self._calls.get(function)
        if call is None:
            raise DispatchError("CallFiltered", "System")
        return call(signer, arguments)

    def found(self, rules: SubnetRules, neurons: Sequence[ChainNeuron], first_block: int = 0) -> None:
        """Write the genesis state: the root, the subnet, and its neurons with uids in their order."""
        write = self._storage.write
        netuid = rules.netuid
        for existing in (ROOT_NETUID, netuid):
            write("NetworksAdded", existing, value=True)
        write("TotalNetworks", value=2)
        write("Tempo", netuid, value=rules.tempo)
        # A rehearsal's epochs are short, and its owner must be able to change rules in them.
        write("AdminFreezeWindow", value=min(self._storage.read("AdminFreezeWindow"), rules.tempo // 4))
        write("WeightsSetRateLimit", netuid, value=rules.weights_rate_limit)
        write("MinAllowedWeights", netuid, value=rules.min_allowed_weights)
        write("WeightsVersionKey", netuid, value=rules.weights_version)
        write("CommitRevealWeightsEnabled", netuid, value=rules.commit_reveal)
        self.weights.epochs.found(first_block)
        write("MaxAllowedUids", netuid, value=256)
        write("SubnetOwner", netuid, value=rules.owner_coldkey)
        write("SubnetOwnerHotkey", netuid, value=rules.owner_hotkey)
        for neuron in neurons:
            self.members.append(netuid, neuron.hotkey, neuron.coldkey, permit=neuron.validator_permit)
            write("TotalHotkeyAlpha", neuron.hotkey, netuid, value=int(neuron.stake * RAO_PER_TOKEN))
            if neuron.ip:
                served = dict(UNSERVED) | {
                    "ip": int(ipaddress.IPv4Address(neuron.ip)),
                    "port": neuron.port,
                    "ip_type": 4,
                }
                write("Axons", netuid, neuron.hotkey, value=served)

    def _serve_axon(self, signer: str, arguments: Arguments) -> list[Event]:
        netuid = arguments["netuid"]
        if self._storage.read("Uids", netuid, signer) is None:
            raise DispatchError("HotKeyNotRegisteredInNetwork")
        if arguments["ip_type"] not in (4, 6):
            raise DispatchError("InvalidIpType")
        if arguments["ip"] in (0, int(ipaddress.IPv4Address("127.0.0.1")), 2**32 - 1):
            raise DispatchError("InvalidIpAddress")
        if not arguments["port"]:
            raise DispatchError("InvalidPort")
        served = {name: arguments[name] for name in UNSERVED if name != "block"}
        self._storage.write("Axons", netuid, signer, value=served | {"block": self._block_number()})
        return [("SubtensorModule", "AxonServed", [netuid, signer])]
