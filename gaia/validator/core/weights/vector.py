"""Computes a weight vector from the scores of the runs in the window."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gaia.validator.core.weights.rules import WEIGHT_RULES, Copies, Run

if TYPE_CHECKING:
    from gaia.validator.utils.chain.metagraph import Metagraph, Neuron

ACTIVE_VALIDATOR_BLOCKS = 500
U16_MAX = 65535

NO_COPIES = Copies()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Terms of the weights, from the settings."""

    rule: str
    """Name of a weight rule."""
    burn_fraction: float
    """Fraction of the weight that is burnt, in [0, 1]."""
    burn_enabled: bool
    burn_hotkey: str
    """ss58 address; empty: the subnet owner's hotkey."""
    contrast_gamma: float
    """Exponent of the relative score if weights hardly differ; only gaia-2.9 uses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """Registered hotkeys, and what weights need to know about them."""

    uids: Mapping[str, int]
    """Hotkey -> uid, of every hotkey."""
    eligible: Collection[str]
    """Hotkeys that may earn."""
    owner_hotkey: str
    earlier: Mapping[str, int] = field(default_factory=dict)
    """Hotkey -> block of the reading that told whether it may earn, if that is an earlier one."""
    registered: Mapping[str, int] = field(default_factory=dict)
    """Hotkey -> block of its registration, of every hotkey; empty in inputs of older releases."""


def registered(metagraph: Metagraph) -> Registered:
    """Return the data of a metagraph that weights need.

    Miners without an address and validators (a permit, and weights set in the last
    `ACTIVE_VALIDATOR_BLOCKS`) may not earn.
    """
    return Registered(
        uids={neuron.hotkey: neuron.uid for neuron in metagraph.neurons},
        eligible=frozenset(n.hotkey for n in metagraph.neurons if _may_earn(n, metagraph.block)),
        owner_hotkey=metagraph.owner_hotkey,
        registered={neuron.hotkey: neuron.registered_at for neuron in metagraph.neurons},
    )


def weights_of(
    runs: Sequence[Run], present: Registered, terms: Terms, copies: Copies = NO_COPIES
) -> dict[int, float] | None:
    """Return the weights of uids for the runs of the window.

    Parameters
    ----------
    runs
        One mapping per run, oldest first: hotkey -> score, None if excused. The weight rule
        decides what absence means.
    present
        Hotkeys registered now. Uids are looked up in it at the very end.
    terms
        The weight rule and the terms of the burn.
    copies
        Overlaps of forecasts.

    Returns
    -------
    dict
        Uid -> weight; all are positive and sum to 1. If no hotkey earned anything, the burn
        hotkey gets everything. None means that no weights are set. Either nothing was earned and
        nothing is burnt, or the burn hotkey is not registered, so that its share has no owner.

    Notes
    -----
    Hotkeys that are no longer registered or may not earn get nothing.
    """
    burner = terms.burn_hotkey or present.owner_hotkey
    if terms.burn_enabled and burner not in present.uids:
        return None
    shares = WEIGHT_RULES[terms.rule].shares(runs, present.eligible, terms.contrast_gamma, copies)
    if terms.burn_enabled:
        shares = _burn(shares, burner, terms.burn_fraction)
    if not shares:
        return None
    return {present.uids[hotkey]: weight for hotkey, weight in shares.items() if weight > 0}


def quantise(weights: Mapping[int, float]) -> tuple[list[int], list[int]]:
    """Return uids in ascending order and their weights as the chain stores them.

    The largest becomes 65535; values that round to 0 are left out.

    Examples
    --------
    >>> quantise({7: 0.75, 0: 0.25, 3: 0.0})
    ([0, 7], [21845, 65535])
    """
    largest = max(weights.values(), default=0.0)
    if largest <= 0:
        return [], []
    scaled = {uid: round(weight / largest * U16_MAX) for uid, weight in sorted(weights.items())}
    kept = {uid: weight for uid, weight in scaled.items() if weight > 0}
    return list(kept), list(kept.values())


def _may_earn(neuron: Neuron, block: int) -> bool:
    is_validator = neuron.validator_permit and block - neuron.last_update < ACTIVE_VALIDATOR_BLOCKS
    return bool(neuron.ip) and not is_validator


def _burn(shares: Mapping[str, float], burner: str, fraction: float) -> dict[str, float]:
    if not shares:
        return {burner: 1.0}
    kept = {hotkey: share * (1.0 - fraction) for hotkey, share in shares.items()}
    return {**kept, burner: kept.get(burner, 0.0) + fraction}
