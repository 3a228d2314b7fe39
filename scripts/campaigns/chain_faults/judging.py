"""Compares the journal with the chain, and counts the vectors that were signed in an epoch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gaia.localnet.chain.beacon import KNOWN_SIGNATURE
from gaia.localnet.chain.commits import as_bytes, read_payload
from gaia.localnet.view.watch import NOT_NOW
from gaia.validator.core.chain.timelock import opened
from gaia.validator.core.weights.doubts import as_stored

if TYPE_CHECKING:
    import asyncpg

    from gaia.localnet.chain.node import LocalChain

_CONTENTS = {"commit", "dests"}
"""Arguments that calls with weights have; the owner's calls have none of them."""
Vector = tuple[tuple[int, ...], tuple[int, ...]]
"""(Uids, weights), as a call has them."""


def vectors_of(chain: LocalChain, epoch: int) -> set[Vector]:
    """Return the vectors that were signed for an epoch."""
    return {
        _vector(extrinsic.arguments, extrinsic.signer)
        for number, extrinsic in list(chain.submitted)
        if number == epoch and extrinsic.arguments.keys() & _CONTENTS
    }


def commits_of(chain: LocalChain, epoch: int) -> Vector:
    """Return what the only sealed vector of an epoch opens to."""
    (vector,) = {
        _vector(extrinsic.arguments, extrinsic.signer)
        for number, extrinsic in list(chain.submitted)
        if number == epoch and "commit" in extrinsic.arguments
    }
    return vector


def stored_vector(stored: Any) -> Vector:
    """Return a vector of the journal as a call has it."""
    uids, weights = zip(*_pairs(stored), strict=True)
    return tuple(uids), tuple(weights)


def has_landed(chain: LocalChain, epoch: int) -> bool:
    """Return whether a vector that was signed for the present epoch is on chain, plainly or as a commit."""
    if any(hotkey == chain.hotkey_of(0) for hotkey, _ in chain.commits(epoch)):
        return True
    held = dict(chain.weights(0))
    return any(held == as_stored(list(zip(*vector, strict=True))) for vector in vectors_of(chain, epoch))


def _vector(arguments: Any, signer: str) -> Vector:
    if "commit" in arguments:
        arguments = read_payload(opened(as_bytes(arguments["commit"]), KNOWN_SIGNATURE), signer)
    return tuple(arguments["dests"]), tuple(arguments["weights"])


async def agreement_of(
    connection: asyncpg.Connection[asyncpg.Record], chain: LocalChain, netuid: int, epoch: int
) -> str:
    """Return how the journal contradicts the chain, or what it leaves open, in this epoch; "" if they agree."""
    try:
        rows = await connection.fetch(
            "SELECT epoch, state, vector, block, commit_block, reveal_epoch FROM weight_journal"
            " WHERE netuid = $1 ORDER BY epoch DESC LIMIT 8",
            netuid,
        )
    except NOT_NOW as error:
        return f"the database was away: {type(error).__name__}"
    if not rows or rows[0]["epoch"] != epoch:
        return f"the journal has no vector of epoch {epoch}"
    doubts = [row["epoch"] for row in rows if row["state"] in ("intended", "failed")]
    if doubts:
        return f"epochs {doubts} are in doubt"
    late = [row["epoch"] for row in rows if row["state"] == "committed" and row["reveal_epoch"] < chain.epoch]
    if late:
        return f"the commits of epochs {late} are not settled"
    newest = rows[0]
    updated = chain.last_update(0)
    told = newest["block"] if newest["state"] == "set" else newest["commit_block"]
    if newest["state"] != "lost" and told != updated:
        return f"epoch {newest['epoch']} is {newest['state']} in block {told}, and the chain says {updated}"
    standing = next((row for row in rows if row["state"] in ("set", "revealed")), None)
    if standing is not None and as_stored(_pairs(standing["vector"])) != dict(chain.weights(0)):
        return f"the chain holds other weights than those of epoch {standing['epoch']}"
    return ""


def _pairs(stored: Any) -> list[list[int]]:
    pairs: list[list[int]] = json.loads(stored) if isinstance(stored, str) else stored
    return pairs
