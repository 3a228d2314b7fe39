"""The calls that set weights, plain or sealed, with the runtime's checks in its order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gaia.localnet.chain.beacon import Beacon
from gaia.localnet.chain.calls import Arguments, DispatchError, Event
from gaia.localnet.chain.commits import TimelockedCommits
from gaia.localnet.chain.subnet.epochs import Epochs
from gaia.localnet.chain.subnet.membership import ROOT_NETUID

if TYPE_CHECKING:
    from gaia.localnet.chain.storage import ChainStorage
    from gaia.localnet.chain.subnet.peers import Peers
    from gaia.localnet.chain.subnet.yuma import YumaConsensus

U16_MAX = 65535
_PLAIN = frozenset({"set_weights", "set_mechanism_weights"})
_SEALED = frozenset({"commit_timelocked_weights", "commit_timelocked_mechanism_weights"})


class WeightCalls:
    """Weights of one subnet, its epochs, and the commits that wait for theirs."""

    def __init__(self, storage: ChainStorage, netuid: int, block_number: Callable[[], int]) -> None:
        self._storage = storage
        self._netuid = netuid
        self._block_number = block_number
        self.epochs = Epochs(storage, netuid)
        self.beacon = Beacon(storage)
        self._commits = TimelockedCommits(storage, netuid, self.epochs, self.beacon, self._store)
        self.peers: Peers | None = None
        """Vote at the beginning of each epoch, if there are any."""
        self.consensus: YumaConsensus | None = None
        """Run at the beginning of each epoch, if there is one."""

    def begin_block(self) -> list[Event]:
        """Reveal the commits that are due, then begin the next epoch if it is due; return the events."""
        block = self._block_number()
        events = self._commits.reveal(block)
        if self.epochs.step(block):
            if self.peers is not None:
                self.peers.vote(block)
            if self.consensus is not None:
                self.consensus.run(block)
        return events

    def validate(self, signer: str, function: str, arguments: Arguments) -> None:
        """Raise `DispatchError` for a call that the runtime refuses before any block.

        The checks are those of `CheckWeights` and `CheckRateLimits` of subtensor (guards, 2026-06).
        """
        if function not in _PLAIN | _SEALED:
            return
        read, netuid = self._storage.read, arguments["netuid"]
        if not self._has_stake(netuid, signer):
            raise DispatchError("NotEnoughStakeToSetWeights")
        if function in _SEALED:
            if arguments["reveal_round"] < read("LastStoredRound", pallet="Drand"):
                raise DispatchError("InvalidRevealRound")
            return
        uid = read("Uids", netuid, signer)
        is_plain = not read("CommitRevealWeightsEnabled", netuid)
        if uid is not None and is_plain and self._is_too_fast(netuid, uid):
            raise DispatchError("SettingWeightsTooFast")

    def set(self, signer: str, arguments: Arguments) -> list[Event]:
        """Set plain weights."""
        if self._storage.read("CommitRevealWeightsEnabled", arguments["netuid"]):
            raise DispatchError("CommitRevealEnabled")
        return self._store(signer, arguments)

    def commit(self, signer: str, arguments: Arguments) -> list[Event]:
        """Keep a sealed vector until the chain reveals it."""
        read, netuid = self._storage.read, arguments["netuid"]
        self._require_mechanism(arguments)
        if not read("CommitRevealWeightsEnabled", netuid):
            raise DispatchError("CommitRevealDisabled")
        if arguments["commit_reveal_version"] != read("CommitRevealWeightsVersion"):
            raise DispatchError("IncorrectCommitRevealVersion")
        uid = read("Uids", netuid, signer)
        if uid is None:
            raise DispatchError("HotKeyNotRegisteredInSubNet")
        if self._is_too_fast(netuid, uid):
            raise DispatchError("CommittingWeightsTooFast")
        events = self._commits.add(signer, arguments, self._block_number())
        self._date(netuid, uid)
        return events

    def _store(self, signer: str, arguments: Arguments) -> list[Event]:
        """Check and store weights, plain or revealed."""
        netuid = arguments["netuid"]
        uids, weights = arguments["dests"], arguments["weights"]
        uid = self._weight_setter(signer, arguments)
        self._check_vector(netuid, uid, uids)
        top = max(weights, default=0)
        upscaled = [weight * U16_MAX // top for weight in weights] if top else weights
        # The limit is a share of the whole vector.
        if uids != [uid] and top * U16_MAX > self._storage.read("MaxWeightsLimit", netuid) * sum(weights):
            raise DispatchError("MaxWeightExceeded")
        self._storage.write(
            "Weights", netuid, uid, value=[list(pair) for pair in zip(uids, upscaled, strict=True)]
        )
        # A commit has dated the neuron already.
        if not self._storage.read("CommitRevealWeightsEnabled", netuid):
            self._date(netuid, uid)
        return [("SubtensorModule", "WeightsSet", [netuid, uid])]

    def _weight_setter(self, signer: str, arguments: Arguments) -> int:
        """Return the uid of `signer` if it may set weights in this block."""
        read = self._storage.read
        netuid, uids = arguments["netuid"], arguments["dests"]
        if netuid == ROOT_NETUID:
            raise DispatchError("CanNotSetRootNetworkWeights")
        if len(uids) != len(arguments["weights"]):
            raise DispatchError("WeightVecNotEqualSize")
        self._require_mechanism(arguments)
        if len(uids) > read("SubnetworkN", netuid):
            raise DispatchError("UidsLengthExceedUidsInSubNet")
        uid = read("Uids", netuid, signer)
        if uid is None:
            raise DispatchError("HotKeyNotRegisteredInSubNet")
        if not self._has_stake(netuid, signer):
            raise DispatchError("NotEnoughStakeToSetWeights")
        if arguments["version_key"] < read("WeightsVersionKey", netuid):
            raise DispatchError("IncorrectWeightVersionKey")
        if not read("CommitRevealWeightsEnabled", netuid) and self._is_too_fast(netuid, uid):
            raise DispatchError("SettingWeightsTooFast")
        is_permitted = read("ValidatorPermit", netuid)[uid] or self._is_owner(netuid, signer)
        if not is_permitted and uids != [uid]:
            raise DispatchError("NeuronNoValidatorPermit")
        return int(uid)

    def _check_vector(self, netuid: int, uid: int, uids: Sequence[int]) -> None:
        if len(set(uids)) != len(uids):
            raise DispatchError("DuplicateUids")
        if any(other >= self._storage.read("SubnetworkN", netuid) for other in uids):
            raise DispatchError("UidVecContainInvalidOne")
        least = min(self._storage.read(item, netuid) for item in ("MinAllowedWeights", "SubnetworkN"))
        if len(uids) < least and uids != [uid]:
            raise DispatchError("WeightVecLengthIsLow")

    def _is_owner(self, netuid: int, hotkey: str) -> bool:
        return bool(self._storage.read("SubnetOwnerHotkey", netuid) == hotkey)

    def _has_stake(self, netuid: int, hotkey: str) -> bool:
        """Return whether a hotkey has enough stake to set weights; the owner's needs none."""
        if self._is_owner(netuid, hotkey) and self._storage.read("Uids", netuid, hotkey) is not None:
            return True
        return bool(
            self._storage.read("TotalHotkeyAlpha", hotkey, netuid) >= self._storage.read("StakeThreshold")
        )

    def _require_mechanism(self, arguments: Arguments) -> None:
        if arguments.get("mecid", 0) >= self._storage.read("MechanismCountCurrent", arguments["netuid"]):
            raise DispatchError("MechanismDoesNotExist")

    def _is_too_fast(self, netuid: int, uid: int) -> bool:
        last_update = self._storage.read("LastUpdate", netuid)[uid]
        limit = self._storage.read("WeightsSetRateLimit", netuid)
        return bool(last_update and self._block_number() - last_update < limit)

    def _date(self, netuid: int, uid: int) -> None:
        last_update = list(self._storage.read("LastUpdate", netuid))
        last_update[uid] = self._block_number()
        self._storage.write("LastUpdate", netuid, value=last_update)
