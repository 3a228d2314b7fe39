"""What the chain would refuse, as far as the metagraph tells: it is never signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gaia.validator.utils.chain.metagraph import Metagraph

VERSION_KEY: Final = 4000
"""Part of every extrinsic with weights; the subnet's owner demands a least one."""
_U16_MAX = 65535


def version_key_of(metagraph: Metagraph) -> int:
    """Return the version key of the next extrinsic: ours, or a larger one that the owner demands."""
    return max(VERSION_KEY, metagraph.weights_version)


def obstacle_of(vector: Sequence[Sequence[int]], metagraph: Metagraph) -> str:
    """Return why the chain would refuse [uid, u16] pairs; "" if nothing speaks against them.

    The rules are `check_length` and `check_vec_max_limited` of subtensor (weights.rs, spec 425); both leave
    a vector alone that names only its sender.
    """
    if [uid for uid, _ in vector] == [metagraph.own_uid]:
        return ""
    least = min(metagraph.min_allowed_weights, len(metagraph.neurons))
    if len(vector) < least:
        return f"the vector names {len(vector)} uids, and the subnet wants {least} or more"
    largest, total = max(weight for _, weight in vector), sum(weight for _, weight in vector)
    if largest * _U16_MAX > metagraph.max_weights_limit * total:
        allowed = metagraph.max_weights_limit / _U16_MAX
        return f"one uid gets {largest / total:.2%} of the weight, and the subnet allows {allowed:.2%}"
    return ""
