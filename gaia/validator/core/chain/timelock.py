"""Weights that are sealed until a round of the drand beacon, as commit-reveal version 4 wants them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gaia.validator.core.chain.epochs import EpochSchedule

BEACON_GENESIS_S: Final = 1_692_803_367
"""Unix time of the first round of drand's quicknet."""
BEACON_PERIOD_S: Final = 3
COMMIT_VERSION: Final = 4
"""Version of commit-reveal that this module implements."""
MOST_COMMIT_BYTES: Final = 5000
"""Largest commit that the chain takes."""
_ROUND = struct.Struct("<Q")
_MARGIN_BLOCKS = 3
"""Blocks between the first block that can reveal and the beacon's round: the chain first stores the round's pulse."""
_COMPACT_LIMITS = ((1 << 6, 1, 0), (1 << 14, 2, 1), (1 << 30, 4, 2))


def payload(hotkey: bytes, uids: Sequence[int], weights: Sequence[int], version_key: int) -> bytes:
    """Return what is sealed, in SCALE: the hotkey's public key, uids and weights as u16, and the version key as u64.

    >>> payload(bytes(2), [1], [65535], 7).hex()
    '080000040100' '04ffff' '0700000000000000'
    """
    return b"".join(
        [
            compact(len(hotkey)) + hotkey,
            compact(len(uids)) + struct.pack(f"<{len(uids)}H", *uids),
            compact(len(weights)) + struct.pack(f"<{len(weights)}H", *weights),
            _ROUND.pack(version_key),
        ]
    )


def reveal_round(schedule: EpochSchedule, reveal_period: int, block_time_s: float, now_s: float) -> int:
    """Return the beacon's round for a commit that the next block includes.

    Parameters
    ----------
    reveal_period
        Epochs between a commit and its reveal.
    block_time_s
        Seconds between two blocks.
    now_s
        Unix time of the schedule's block.
    """
    first = schedule.first_block_of(schedule.epoch_of_commit() + reveal_period)
    blocks = first + _MARGIN_BLOCKS - schedule.block
    return max(1, int((now_s + blocks * block_time_s - BEACON_GENESIS_S) // BEACON_PERIOD_S))


def is_published(beacon_round: int, now_s: float) -> bool:
    """Return whether the beacon has published `beacon_round` at `now_s`, in Unix time.

    >>> is_published(1, BEACON_GENESIS_S), is_published(2, BEACON_GENESIS_S)
    (True, False)
    """
    return now_s >= BEACON_GENESIS_S + (beacon_round - 1) * BEACON_PERIOD_S


def seal(content: bytes, beacon_round: int) -> bytes:
    """Return `content`, encrypted so that the signature of `beacon_round` opens it; it takes 5 to 115 ms.

    The SDK puts the ciphertext in an envelope of its own, which the chain does not know.
    """
    import bittensor_core

    envelope, _ = bittensor_core.encrypt_at_round(content, beacon_round)
    return _taken_out(bytes(envelope), beacon_round)


def opened(ciphertext: bytes, signature: str) -> bytes:
    """Return what `seal` encrypted.

    Raises
    ------
    ValueError
        If the signature is of another round, or the ciphertext is damaged.
    """
    import bittensor_core

    envelope = compact(len(ciphertext)) + ciphertext + bytes(_ROUND.size)
    return bytes(bittensor_core.decrypt_with_signature(envelope, signature))


def _taken_out(envelope: bytes, beacon_round: int) -> bytes:
    """Return the ciphertext of an envelope: its length, itself, and the round."""
    size = next(size for _, size, mode in _COMPACT_LIMITS if envelope[0] & 3 == mode)
    end = size + (int.from_bytes(envelope[:size], "little") >> 2)
    if envelope[end:] != _ROUND.pack(beacon_round):
        raise ValueError("the SDK's envelope of a sealed vector has another form")
    return envelope[size:end]


def compact(number: int) -> bytes:
    """Return a length in SCALE's compact form.

    >>> compact(1).hex(), compact(64).hex()
    ('04', '0101')
    """
    for limit, size, mode in _COMPACT_LIMITS:
        if number < limit:
            return (number << 2 | mode).to_bytes(size, "little")
    raise ValueError(f"{number} items are too many")
