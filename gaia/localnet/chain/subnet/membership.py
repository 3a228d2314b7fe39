"""Who has which slot of the subnet: registrations, replacements, swaps of hotkeys and trims."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gaia.localnet.chain.calls import Arguments, DispatchError, Event

if TYPE_CHECKING:
    from gaia.localnet.chain.storage import ChainStorage

ROOT_NETUID: Final = 0
_COLUMNS: Final = ("LastUpdate", "ValidatorPermit", "Active", "Emission")
"""Vectors with one value for each uid."""


class _Row(NamedTuple):
    """A slot that is to move."""

    hotkey: str
    registered_at: int
    weights: Sequence[tuple[int, int]]


class Membership:
    """The neurons of subnets, as registration.rs, uids.rs and swap_hotkey.rs of subtensor (spec 425) change them.

    No call costs tokens here. Emission is 0 unless a test writes it, so that the oldest neuron is pruned.
    """

    def __init__(self, storage: ChainStorage, block_number: Callable[[], int]) -> None:
        self._storage = storage
        self._block_number = block_number

    def append(self, netuid: int, hotkey: str, coldkey: str, *, permit: bool) -> int:
        """Give `hotkey` a new uid, and return it."""
        read, write = self._storage.read, self._storage.write
        uid = int(read("SubnetworkN", netuid))
        write("SubnetworkN", netuid, value=uid + 1)
        for item, value in zip(_COLUMNS, (0, permit, True, 0), strict=True):
            write(item, netuid, value=[*self._column(item, netuid, uid), value])
        self._occupy(netuid, uid, hotkey, coldkey)
        return uid

    def burned_register(self, signer: str, arguments: Arguments) -> list[Event]:
        """Register a hotkey, in the slot of a pruned one if the subnet is full."""
        netuid, hotkey = arguments["netuid"], arguments["hotkey"]
        read = self._storage.read
        if netuid == ROOT_NETUID:
            raise DispatchError("RegistrationNotPermittedOnRootSubnet")
        if not read("NetworksAdded", netuid):
            raise DispatchError("SubnetNotExists")
        if read("Uids", netuid, hotkey) is not None:
            raise DispatchError("HotKeyAlreadyRegisteredInSubNet")
        if read("SubnetworkN", netuid) < read("MaxAllowedUids", netuid):
            uid = self.append(netuid, hotkey, signer, permit=False)
        else:
            uid = self._pruned(netuid)
            self._replace(netuid, uid, hotkey, signer)
        return [("SubtensorModule", "NeuronRegistered", [netuid, uid, hotkey])]

    def swap_hotkey(self, signer: str, arguments: Arguments) -> list[Event]:
        """Give the slot of a hotkey, its axon and its stake to another hotkey of the same owner."""
        old, new, netuid = arguments["hotkey"], arguments["new_hotkey"], arguments["netuid"]
        read, write = self._storage.read, self._storage.write
        if netuid is None:
            raise DispatchError("CallFiltered", "System")  # the only subnet here must be named
        if read("Owner", old) != signer:
            raise DispatchError("NonAssociatedColdKey")
        if old == new:
            raise DispatchError("NewHotKeyIsSameWithOld")
        if read("Uids", netuid, new) is not None:
            raise DispatchError("HotKeyAlreadyRegisteredInSubNet")
        uid = read("Uids", netuid, old)
        if uid is None:
            raise DispatchError("HotKeyNotRegisteredInSubNet")
        registered, axon = read("BlockAtRegistration", netuid, uid), read("Axons", netuid, old)
        stake = read("TotalHotkeyAlpha", old, netuid)
        self._leave(netuid, old)
        self._occupy(netuid, uid, new, signer)
        write("BlockAtRegistration", netuid, uid, value=registered)
        write("TotalHotkeyAlpha", old, netuid, value=0)
        write("TotalHotkeyAlpha", new, netuid, value=stake)
        if axon is not None:
            write("Axons", netuid, new, value=axon)
        if read("SubnetOwnerHotkey", netuid) == old:
            write("SubnetOwnerHotkey", netuid, value=new)
        said = {"coldkey": signer, "old_hotkey": old, "new_hotkey": new, "netuid": netuid}
        return [("SubtensorModule", "HotkeySwappedOnSubnet", said)]

    def trim(self, signer: str, arguments: Arguments) -> list[Event]:
        """Remove the neurons with the least emission, and close the gaps in the order of the uids."""
        netuid, most = arguments["netuid"], arguments["max_n"]
        read, write = self._storage.read, self._storage.write
        if read("SubnetOwner", netuid) != signer:
            raise DispatchError("BadOrigin", "System")
        count = int(read("SubnetworkN", netuid))
        emission = self._column("Emission", netuid, count)
        best = sorted(range(count), key=lambda uid: (not self._is_owner(netuid, uid), -emission[uid], uid))
        kept = sorted(best[:most])
        write("MaxAllowedUids", netuid, value=most)
        if len(kept) == count:
            return []
        rows = [self._row(netuid, uid) for uid in range(count)]
        for uid in range(count):
            self._leave(netuid, rows[uid].hotkey, keep_axon=uid in kept)
            for item in ("Keys", "BlockAtRegistration", "Weights"):
                self._storage.remove(item, netuid, uid)
        for item in _COLUMNS:
            values = self._column(item, netuid, count)
            write(item, netuid, value=[values[uid] for uid in kept])
        write("SubnetworkN", netuid, value=len(kept))
        places = {old: new for new, old in enumerate(kept)}
        for old, new in places.items():
            row = rows[old]
            self._occupy(netuid, new, row.hotkey, read("Owner", row.hotkey))
            write("BlockAtRegistration", netuid, new, value=row.registered_at)
            pairs = [[places[uid], weight] for uid, weight in row.weights if uid in places]
            if pairs:
                write("Weights", netuid, new, value=pairs)
        return []

    def _row(self, netuid: int, uid: int) -> _Row:
        items = ("Keys", "BlockAtRegistration", "Weights")
        return _Row(*(self._storage.read(item, netuid, uid) for item in items))

    def _pruned(self, netuid: int) -> int:
        """Return the uid with the least emission, the oldest of equals; those in their immunity last, the owner never."""
        read, now = self._storage.read, self._block_number()
        count, immunity = int(read("SubnetworkN", netuid)), read("ImmunityPeriod", netuid)
        emission = self._column("Emission", netuid, count)

        def rank(uid: int) -> tuple[bool, int, int]:
            registered = read("BlockAtRegistration", netuid, uid)
            return now - registered < immunity, emission[uid], registered

        candidates = [uid for uid in range(count) if not self._is_owner(netuid, uid)]
        if not candidates:
            raise DispatchError("NoNeuronIdAvailable")
        return min(candidates, key=lambda uid: (*rank(uid), uid))

    def _is_owner(self, netuid: int, uid: int) -> bool:
        read = self._storage.read
        return bool(read("Keys", netuid, uid) == read("SubnetOwnerHotkey", netuid))

    def _replace(self, netuid: int, uid: int, hotkey: str, coldkey: str) -> None:
        """Give a slot to another hotkey; what others thought of the old one is cleared, its last update is not."""
        read, write = self._storage.read, self._storage.write
        self._leave(netuid, read("Keys", netuid, uid))
        self._occupy(netuid, uid, hotkey, coldkey)
        for item, value in (("ValidatorPermit", False), ("Emission", 0)):
            column = self._column(item, netuid, int(read("SubnetworkN", netuid)))
            column[uid] = value
            write(item, netuid, value=column)
        self._storage.remove("Weights", netuid, uid)
        for other in range(int(read("SubnetworkN", netuid))):
            pairs = read("Weights", netuid, other)
            if any(target == uid for target, _ in pairs):
                cleared = [[target, 0 if target == uid else weight] for target, weight in pairs]
                write("Weights", netuid, other, value=cleared)

    def _occupy(self, netuid: int, uid: int, hotkey: str, coldkey: str) -> None:
        write = self._storage.write
        write("Uids", netuid, hotkey, value=uid)
        write("Keys", netuid, uid, value=hotkey)
        write("Owner", hotkey, value=coldkey)
        write("IsNetworkMember", hotkey, netuid, value=True)
        write("BlockAtRegistration", netuid, uid, value=self._block_number())

    def _leave(self, netuid: int, hotkey: str, *, keep_axon: bool = False) -> None:
        remove = self._storage.remove
        remove("Uids", netuid, hotkey)
        remove("IsNetworkMember", hotkey, netuid)
        if not keep_axon:
            remove("Axons", netuid, hotkey)

    def _column(self, item: str, netuid: int, count: int) -> list[Any]:
        """Return a vector of the first `count` uids, with neutral values where it was never written."""
        values: Sequence[Any] = self._storage.read(item, netuid)
        return [*values[:count], *([0] * (count - len(values)))]
