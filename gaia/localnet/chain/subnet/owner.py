"""Rules that the subnet's owner changes, with the runtime's limits on when and how often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from gaia.localnet.chain.calls import Arguments, DispatchError, Event

if TYPE_CHECKING:
    from gaia.localnet.chain.storage import ChainStorage
    from gaia.localnet.chain.subnet.epochs import Epochs

MAX_TEMPO: Final = 50_400
_CHANGED_BY: Final[Mapping[str, tuple[str, str]]] = {
    "sudo_set_weights_version_key": ("WeightsVersionKey", "weights_version_key"),
    "sudo_set_min_allowed_weights": ("MinAllowedWeights", "min_allowed_weights"),
    "sudo_set_commit_reveal_weights_enabled": ("CommitRevealWeightsEnabled", "enabled"),
    "sudo_set_commit_reveal_weights_interval": ("RevealPeriodEpochs", "interval"),
}
"""Call -> (storage item, argument)."""


class OwnerCalls:
    """Calls that the owner's coldkey alone may make (admin-utils and tempo_control.rs of subtensor, spec 461).

    Tempos may be shorter than the runtime's 360 blocks, because rehearsals are. Each rule can be changed once in so
    many tempos as the chain's `OwnerHyperparamRateLimit` says. `set_tempo` of earlier specs succeeds for anybody,
    and changes nothing.
    """

    def __init__(self, storage: ChainStorage, epochs: Epochs, block_number: Callable[[], int]) -> None:
        self._storage = storage
        self._epochs = epochs
        self._block_number = block_number
        self._changed: dict[str, int] = {}
        """Call -> block of its last success."""
        self.calls: Mapping[str, Callable[[str, Arguments], list[Event]]] = {
            "set_tempo": lambda _signer, _arguments: [],
            "sudo_set_tempo": self._set_tempo,
            "trigger_epoch": self._trigger_epoch,
            **{name: self._changer(name) for name in _CHANGED_BY},
        }

    def _changer(self, name: str) -> Callable[[str, Arguments], list[Event]]:
        item, argument = _CHANGED_BY[name]

        def change(signer: str, arguments: Arguments) -> list[Event]:
            netuid = arguments["netuid"]
            self._permit(name, signer, netuid)
            self._require_open_window(netuid)
            self._storage.write(item, netuid, value=arguments[argument])
            self._changed[name] = self._block_number()
            return []

        return change

    def _set_tempo(self, signer: str, arguments: Arguments) -> list[Event]:
        """Set the tempo; the present epoch begins anew in this block."""
        netuid, tempo = arguments["netuid"], arguments["tempo"]
        self._permit("sudo_set_tempo", signer, netuid)
        if not 1 <= tempo <= MAX_TEMPO:
            raise DispatchError("TempoOutOfBounds")
        self._require_open_window(netuid)
        self._storage.write("Tempo", netuid, value=tempo)
        self._storage.write("LastEpochBlock", netuid, value=self._block_number())
        self._changed["sudo_set_tempo"] = self._block_number()
        return [("SubtensorModule", "TempoSet", [netuid, tempo])]

    def _trigger_epoch(self, signer: str, arguments: Arguments) -> list[Event]:
        """Let the next epoch begin after the window in which rules may not change."""
        read, netuid, now = self._storage.read, arguments["netuid"], self._block_number()
        self._permit("trigger_epoch", signer, netuid)
        if read("CommitRevealWeightsEnabled", netuid):
            raise DispatchError("DynamicTempoBlockedByCommitReveal")
        if read("PendingEpochAt", netuid):
            raise DispatchError("EpochTriggerAlreadyPending")
        window = int(read("AdminFreezeWindow"))
        if self._epochs.next_start() - now < window:
            raise DispatchError("AutoEpochAlreadyImminent")
        self._storage.write("PendingEpochAt", netuid, value=now + window)
        self._changed["trigger_epoch"] = now
        told = {"netuid": netuid, "by": signer, "fires_at": now + window}
        return [("SubtensorModule", "EpochTriggered", told)]

    def _permit(self, name: str, signer: str, netuid: int) -> None:
        read = self._storage.read
        if read("SubnetOwner", netuid) != signer:
            raise DispatchError("BadOrigin", "System")
        wait = int(read("OwnerHyperparamRateLimit")) * int(read("Tempo", netuid))
        last = self._changed.get(name)
        if last is not None and self._block_number() - last < wait:
            raise DispatchError("TxRateLimitExceeded")

    def _require_open_window(self, netuid: int) -> None:
        """Refuse a change in the last blocks of an epoch, and while an epoch is triggered."""
        read, now = self._storage.read, self._block_number()
        if not read("Tempo", netuid):
            return
        is_triggered = read("PendingEpochAt", netuid) > now
        if is_triggered or self._epochs.next_start() - now < read("AdminFreezeWindow"):
            raise DispatchError("AdminActionProhibitedDuringWeightsWindow")
