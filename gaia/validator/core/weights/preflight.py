"""What the chain would refuse, as far as a reading of it tells: it is never signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gaia.validator.utils.chain.refusals import refusal_named
from gaia.validator.utils.errors import WeightsImpossible

if TYPE_CHECKING:
    from gaia.validator.utils.chain.metagraph import Metagraph

VERSION_KEY: Final = 4000
"""Part of every extrinsic with weights; the subnet's owner demands a least one."""
ROOT_NETUID: Final = 0
_U16_MAX = 65535


def version_key_of(metagraph: Metagraph) -> int:
    """Return the version key of the next extrinsic: ours, or a larger one that the owner demands."""
    return max(VERSION_KEY, metagraph.weights_version)


def obstacle_to_us(metagraph: Metagraph) -> WeightsImpossible | None:
    """Return why the chain would refuse any weights of ours; None if nothing speaks against them.

    The rules are those of `internal_set_weights` of subtensor (weights.rs, spec 425), in its order. The subnet
    owner's hotkey needs neither stake nor permit.
    """
    if metagraph.netuid == ROOT_NETUID:
        return impossible("CanNotSetRootNetworkWeights")
    if metagraph.mechanisms < 1:
        return impossible("MechanismDoesNotExist")
    own = metagraph.own
    if own is None:
        return impossible("HotKeyNotRegisteredInSubNet")
    if metagraph.is_owned:
        return None
    if own.stake < metagraph.stake_threshold:
        return impossible(
            "NotEnoughStakeToSetWeights",
            f"the hotkey has {own.stake:.1f} of the {metagraph.stake_threshold:.1f} tokens that it needs",
        )
    if not metagraph.may_vote(own):
        return impossible("NeuronNoValidatorPermit")
    return None


def obstacle_to_form(metagraph: Metagraph, version_key: int, *, is_sealed: bool) -> WeightsImpossible | None:
    """Return why the chain would refuse weights of ours, plain or sealed, in the next block."""
    if is_sealed != metagraph.commit_reveal:
        return impossible("CommitRevealDisabled" if is_sealed else "CommitRevealEnabled")
    if version_key < metagraph.weights_version:
        return impossible(
            "IncorrectWeightVersionKey",
            f"the version key is {version_key}, and the subnet wants {metagraph.weights_version} or more",
        )
    own = metagraph.own
    last = own.last_update if own is not None else 0
    wait = metagraph.weights_rate_limit - (metagraph.block + 1 - last)
    if last and wait > 0:
        name = "CommittingWeightsTooFast" if is_sealed else "SettingWeightsTooFast"
        return impossible(name, f"the last weights are of block {last}, and {wait} more blocks must pass")
    return None


def obstacle_to(vector: Sequence[Sequence[int]], metagraph: Metagraph) -> WeightsImpossible | None:
    """Return why the chain would refuse [uid, u16] pairs; None if nothing speaks against them.

    The uids are those of now: a promise that names uids of earlier is resolved before. The rules are
    `check_len_uids_within_allowed` and `contains_invalid_uids` of subtensor (weights.rs, spec 425), and those of
    `obstacle_to_size`.
    """
    count = len(metagraph.neurons)
    if len(vector) > count:
        return impossible(
            "UidsLengthExceedUidsInSubNet", f"the vector names {len(vector)} uids, and the subnet has {count}"
        )
    present = {neuron.uid for neuron in metagraph.neurons}
    if absent := sorted(uid for uid, _ in vector if uid not in present):
        return impossible("UidVecContainInvalidOne", f"the subnet has {count} uids, and no uid {absent[0]}")
    return obstacle_to_size(vector, metagraph)


def obstacle_to_size(vector: Sequence[Sequence[int]], metagraph: Metagraph) -> WeightsImpossible | None:
    """Return why the chain would refuse so many [uid, u16] pairs with such weights, whoever has the uids.

    The rules are `check_length` and `check_vec_max_limited`; they leave a vector alone that names only its sender.
    """
    if [uid for uid, _ in vector] == [metagraph.own_uid]:
        return None
    least = min(metagraph.min_allowed_weights, len(metagraph.neurons))
    if len(vector) < least:
        return impossible(
            "WeightVecLengthIsLow",
            f"the vector names {len(vector)} uids, and the subnet wants {least} or more",
        )
    largest, total = max(weight for _, weight in vector), sum(weight for _, weight in vector)
    if largest * _U16_MAX > metagraph.max_weights_limit * total:
        allowed = metagraph.max_weights_limit / _U16_MAX
        return impossible(
            "MaxWeightExceeded",
            f"one uid gets {largest / total:.2%} of the weight, and the subnet allows {allowed:.2%}",
        )
    return None


def impossible(name: str, reason: str = "") -> WeightsImpossible:
    """Return the error for what the chain would refuse under `name`.

    Parameters
    ----------
    reason
        What is wrong in figures; "": the meaning of the name.
    """
    refusal = refusal_named(name)
    words = f"{name}: {reason or refusal.meaning}; {refusal.remedy}"
    return WeightsImpossible(f"the chain would refuse the weights: {words}", name)
