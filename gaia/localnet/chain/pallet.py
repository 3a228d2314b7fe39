"""The calls of the subtensor pallet (registration, axons, weights), with the runtime's checks in its order."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gaia.localnet.chain.storage import ChainStorage

RAO_PER_TOKEN = 10**9
U16_MAX = 65535
_ROOT_NETUID = 0
_UNSERVED = {
    "block": 0,
    "version": 0,
    "ip": 0,
    "port": 0,
    "ip_type": 0,
    "protocol": 0,
    "placeholder1": 0,
    "placeholder2": 0,
}
Event = tuple[str, str, Any]
Arguments = Mapping[str, Any]


class DispatchError(Exception):
    """The runtime refuses the call; the message is the runtime's name of the error."""

    def __init__(self, name: str, pallet: str = "SubtensorModule") -> None:
        super().__init__(name)
        self.name = name
        self.pallet = pallet


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

    def __init__(self, storage: ChainStorage, block_number: Callable[[], int]) -> None:
        self._storage = storage
        self._block_number = block_number
        self._calls: dict[str, Callable[[str, Arguments], list[Event]]] = {
            "set_weights": self._set_weights,
            "set_mechanism_weights": self._set_weights,
            "serve_axon": self._serve_axon,
            "burned_register": self._burned_register,
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

    def found(self, rules: SubnetRules, neurons: Sequence[ChainNeuron]) -> None:
        """Write the genesis state: the root, the subnet, and its neurons with uids in their order."""
        write = self._storage.write
        netuid = rules.netuid
        for existing in (_ROOT_NETUID, netuid):
            write("NetworksAdded", existing, value=True)
        write("TotalNetworks", value=2)
        write("Tempo", netuid, value=rules.tempo)
        write("WeightsSetRateLimit", netuid, value=rules.weights_rate_limit)
        write("MinAllowedWeights", netuid, value=rules.min_allowed_weights)
        write("WeightsVersionKey", netuid, value=rules.weights_version)
        write("CommitRevealWeightsEnabled", netuid, value=rules.commit_reveal)
        write("MaxAllowedUids", netuid, value=256)
        write("SubnetOwner", netuid, value=rules.owner_coldkey)
        write("SubnetOwnerHotkey", netuid, value=rules.owner_hotkey)
        for neuron in neurons:
            self._register(netuid, neuron.hotkey, neuron.coldkey, permit=neuron.validator_permit)
            write("TotalHotkeyAlpha", neuron.hotkey, netuid, value=int(neuron.stake * RAO_PER_TOKEN))
            if neuron.ip:
                served = _UNSERVED | {
                    "ip": int(ipaddress.IPv4Address(neuron.ip)),
                    "port": neuron.port,
                    "ip_type": 4,
                }
                write("Axons", netuid, neuron.hotkey, value=served)

    def neurons(self, netuid: int) -> list[dict[str, Any]]:
        """Return every row of the subnet by uid, under the metagraph's names."""
        read = self._storage.read
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
                    "axon": read("Axons", netuid, hotkey) or _UNSERVED,
                    "stake": read("TotalHotkeyAlpha", hotkey, netuid),
                    "block_at_registration": read("BlockAtRegistration", netuid, uid),
                }
            )
        return rows

    def _register(self, netuid: int, hotkey: str, coldkey: str, *, permit: bool) -> int:
        read, write = self._storage.read, self._storage.write
        uid = int(read("SubnetworkN", netuid))
        write("SubnetworkN", netuid, value=uid + 1)
        write("Uids", netuid, hotkey, value=uid)
        write("Keys", netuid, uid, value=hotkey)
        write("Owner", hotkey, value=coldkey)
        write("IsNetworkMember", hotkey, netuid, value=True)
        write("BlockAtRegistration", netuid, uid, value=self._block_number())
        for item, value in (("LastUpdate", 0), ("ValidatorPermit", permit), ("Active", True)):
            write(item, netuid, value=[*read(item, netuid), value])
        return uid

    def _burned_register(self, signer: str, arguments: Arguments) -> list[Event]:
        netuid, hotkey = arguments["netuid"], arguments["hotkey"]
        if netuid == _ROOT_NETUID:
            raise DispatchError("RegistrationNotPermittedOnRootSubnet")
        if not self._storage.read("NetworksAdded", netuid):
            raise DispatchError("SubnetNotExists")
        if self._storage.read("Uids", netuid, hotkey) is not None:
            raise DispatchError("HotKeyAlreadyRegisteredInSubNet")
        uid = self._register(netuid, hotkey, signer, permit=False)
        return [("SubtensorModule", "NeuronRegistered", [netuid, uid, hotkey])]

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
        served = {name: arguments[name] for name in _UNSERVED if name != "block"}
        self._storage.write("Axons", netuid, signer, value=served | {"block": self._block_number()})
        return [("SubtensorModule", "AxonServed", [netuid, signer])]

    def _set_weights(self, signer: str, arguments: Arguments) -> list[Event]:
        netuid = arguments["netuid"]
        uids, weights = arguments["dests"], arguments["weights"]
        if self._storage.read("CommitRevealWeightsEnabled", netuid):
            raise DispatchError("CommitRevealEnabled")
        uid = self._weight_setter(signer, arguments)
        self._check_vector(netuid, uid, uids)
        top = max(weights, default=0)
        upscaled = [weight * U16_MAX // top for weight in weights] if top else weights
        if uids != [uid] and max(upscaled, default=0) > self._storage.read("MaxWeightsLimit", netuid):
            raise DispatchError("MaxWeightExceeded")
        self._storage.write(
            "Weights", netuid, uid, value=[list(pair) for pair in zip(uids, upscaled, strict=True)]
        )
        last_update = list(self._storage.read("LastUpdate", netuid))
        last_update[uid] = self._block_number()
        self._storage.write("LastUpdate", netuid, value=last_update)
        return [("SubtensorModule", "WeightsSet", [netuid, uid])]

    def _weight_setter(self, signer: str, arguments: Arguments) -> int:
        """Return the uid of `signer` if it may set weights in this block."""
        read = self._storage.read
        netuid, uids = arguments["netuid"], arguments["dests"]
        if netuid == _ROOT_NETUID:
            raise DispatchError("CanNotSetRootNetworkWeights")
        if len(uids) != len(arguments["weights"]):
            raise DispatchError("WeightVecNotEqualSize")
        if arguments.get("mecid", 0) >= read("MechanismCountCurrent", netuid):
            raise DispatchError("MechanismDoesNotExist")
        if len(uids) > read("SubnetworkN", netuid):
            raise DispatchError("UidsLengthExceedUidsInSubNet")
        uid = read("Uids", netuid, signer)
        if uid is None:
            raise DispatchError("HotKeyNotRegisteredInSubNet")
        if read("TotalHotkeyAlpha", signer, netuid) < read("StakeThreshold"):
            raise DispatchError("NotEnoughStakeToSetWeights")
        if arguments["version_key"] < read("WeightsVersionKey", netuid):
            raise DispatchError("IncorrectWeightVersionKey")
        last_update = read("LastUpdate", netuid)[uid]
        if last_update and self._block_number() - last_update < read("WeightsSetRateLimit", netuid):
            raise DispatchError("SettingWeightsTooFast")
        if not read("ValidatorPermit", netuid)[uid] and uids != [uid]:
            raise DispatchError("NeuronNoValidatorPermit")
        return int(uid)

    def _check_vector(self, netuid: int, uid: int, uids: Sequence[int]) -> None:
        if len(set(uids)) != len(uids):
            raise DispatchError("DuplicateUids")
        if any(other >= self._storage.read("SubnetworkN", netuid) for other in uids):
            raise DispatchError("UidVecContainInvalidOne")
        if len(uids) < self._storage.read("MinAllowedWeights", netuid) and uids != [uid]:
            raise DispatchError("WeightVecLengthIsLow")


_COLUMNS = {"active": "Active", "last_update": "LastUpdate", "validator_permit": "ValidatorPermit"}
