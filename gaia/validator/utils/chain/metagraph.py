"""The metagraph: the subnet at one block."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from gaia.validator.utils.identities import Hotkey


class Neuron(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the metagraph."""

    uid: int
    hotkey: Hotkey
    coldkey: str
    ip: str
    """IPv4 address; "" if no axon is served."""
    port: int
    stake: float
    """Stake weight, in tokens."""
    validator_permit: bool
    last_update: int
    """Block of its last weights."""
    registered_at: int
    """Block of its registration; uid and hotkey alone do not identify a registration."""

    @property
    def registration(self) -> Registration:
        return Registration(self.hotkey, self.uid, self.registered_at)


class Registration(NamedTuple):
    """One registration of a miner, as it was read once."""

    hotkey: str
    uid: int
    registered_at: int
    """Block of the registration."""


RAO_PER_TOKEN: Final = 10**9
BLOCK_S: Final = 12.0
"""Usual seconds between two blocks."""
ACTIVITY_CUTOFF: Final = 5000
"""Default of the chain, for runtimes that do not tell it."""


class Metagraph(msgspec.Struct, frozen=True, kw_only=True):
    """The subnet at one block, with the data that setting weights needs."""

    netuid: int
    block: int
    neurons: list[Neuron]
    own_hotkey: str
    own_uid: int | None
    """Our uid; None: our hotkey is not registered."""
    tempo: int
    """Blocks of one epoch."""
    epoch: int
    """Epoch, of the chain's own counter, to which weights in the next block belong."""
    next_epoch_block: int | None
    """Block in which the next epoch begins; None: the subnet has no epochs."""
    weights_rate_limit: int
    min_allowed_weights: int
    weights_version: int
    commit_reveal: bool
    owner_hotkey: str
    """The subnet owner's hotkey; "" if unknown. Weight on its uid is burnt."""
    max_weights_limit: int = 65535
    """Largest weight that the chain takes, of 65535 for the whole vector."""
    activity_cutoff: int = ACTIVITY_CUTOFF
    """Blocks without new weights after which the chain ignores a validator."""
    epoch_first_block: int | None = None
    """First block that belongs to `epoch`; None: it is unknown, or the subnet has no epochs."""
    stake_threshold: float = 0.0
    """Stake weight, in tokens, below which a validator may not set weights."""
    mechanisms: int = 1
    """Number of the subnet's mechanisms; ours is the first."""
    is_confirmed: bool = True
    """Whether no node of the chain contradicts it, and several tell it where the operator named several."""
    own_dividends: float | None = None
    """Our share of the validators' rewards in the last tempo, from 0 to 1; None if unknown."""
    own_emission: float | None = None
    """Tokens of the subnet that the last tempo paid us; None if unknown."""

    @property
    def own(self) -> Neuron | None:
        """Our neuron; None: our hotkey is not registered."""
        return next((neuron for neuron in self.neurons if neuron.uid == self.own_uid), None)

    @property
    def is_owned(self) -> bool:
        """Whether our hotkey is the subnet owner's, which needs neither stake nor permit."""
        return self.own_hotkey == self.owner_hotkey

    def may_vote(self, neuron: Neuron) -> bool:
        """Return whether a neuron has a permit, or is the subnet owner's, which needs none."""
        return neuron.validator_permit or neuron.hotkey == self.owner_hotkey

    @property
    def has_weights_of_epoch(self) -> bool:
        """Whether our weights, or a commit of ours, are of the present epoch; a registration dates the neuron, too."""
        own, first = self.own, self.epoch_first_block
        if own is None or first is None:
            return False
        return own.last_update >= max(1, first) and own.last_update > own.registered_at

    def holder(self, registration: Registration) -> Neuron | None:
        """Return the neuron of a registration; None if the registration has ended.

        A swap of the hotkey changes neither uid nor block of a registration, and a trim of the subnet changes
        only its uid.
        """
        swapped = None
        for neuron in self.neurons:
            if neuron.registered_at == registration.registered_at:
                if neuron.hotkey == registration.hotkey:
                    return neuron
                if neuron.uid == registration.uid:
                    swapped = neuron
        return swapped
