"""Scores of the runs in the window to one weight vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gaia.validator.core.weight_rules import WEIGHT_RULES, Copies, Run
from gaia.validator.utils.ipc_types import Metagraph, Neuron

ACTIVE_VALIDATOR_BLOCKS = 500
U16_MAX = 65535

NO_COPIES = Copies()


def weight_vector(
    runs: Sequence[Run],
    metagraph: Metagraph,
    *,
    rule: str = "gaia-2.9",
    copies: Copies = NO_COPIES,
    burn_fraction: float,
    burn_enabled: bool,
    burn_hotkey: str,
    contrast_gamma: float,
) -> dict[int, float] | None:
    """Turn the runs of the window into weights over uids.

    Parameters
    ----------
    runs
        Oldest first, one mapping a run, hotkey to score. None: excused from it.
        What absence means is for the weight rule to say.
    metagraph
        Who is registered now. Uids are looked up in it last of all.
    rule
        Name of a weight rule.
    copies
        What is known of forecasts that are the same work.
    burn_fraction
        Part of the weight that is burnt, in [0, 1].
    burn_enabled
        Burn at all.
    burn_hotkey
        Hotkey that burns; "": the subnet owner's.
    contrast_gamma
        Exponent of the relative score applied where weights hardly differ; a matter of gaia-2.9.

    Returns
    -------
    dict
        Uid to weight, all positive, summing to 1. Everything goes to the burn
        hotkey where nobody earned anything. None: hold, set no weights; that is
        so where nobody earned anything and nothing is burnt, and where the burn
        hotkey is not registered, as its part is not ours to hand out.

    Notes
    -----
    Hotkeys no longer registered, miners without an address and validators (a
    permit, and weights set in the last `ACTIVE_VALIDATOR_BLOCKS`) earn nothing.
    """
    neurons = {neuron.hotkey: neuron for neuron in metagraph.neurons}
    burner = burn_hotkey or metagraph.owner_hotkey
    if burn_enabled and burner not in neurons:
        return None
    eligible = {hotkey for hotkey, neuron in neurons.items() if _may_earn(neuron, metagraph.block)}
    shares = WEIGHT_RULES[rule].shares(runs, eligible, contrast_gamma, copies)
    if burn_enabled:
        shares = _burn(shares, burner, burn_fraction)
    if not shares:
        return None
    return {neurons[hotkey].uid: weight for hotkey, weight in shares.items() if weight > 0}


def quantise(weights: Mapping[int, float]) -> tuple[list[int], list[int]]:
    """Return uids in ascending order and their weights as the chain stores them.

    The largest becomes 65535; what rounds to 0 is left out.

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
