"""Writes the page of refusals from what the trials have shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from campaigns.chain_refusals.cases import BY_SHAPE, EXCLUDED, SAME_AS
from gaia.validator.utils.chain.refusals import REFUSALS, Cause, Refusal

if TYPE_CHECKING:
    from campaigns.chain_refusals.playing import Row

_WHO: Final = {
    Cause.OURS: "The operator must act",
    Cause.THEIRS: "The subnet's owner or the chain has another rule",
    Cause.NETWORK: "A node or its pool",
    Cause.RACE: "Something changed meanwhile",
}
_BEFORE: Final = """# Refusals of weights

What the chain, or a node's pool, says when it does not take our weights, and what to do. The four groups are the values of the label
`cause` of [`gaia_weights_refusals_total`](metrics.md). `gaia status` shows the present refusal as the incident `weights`.

A preflight reads the newest block before anything is signed. *Signed* says whether weights are signed although the cause is there
already: *no* where the preflight, or the signer itself, sees it. A cause that appears after the signature is always possible; the
chain then refuses, and the next attempt sees it. `python3 scripts/generate/refusals_page.py` provokes these refusals on a local
chain and writes this page. `python3 scripts/chaos.py refusals` provokes the same, and fails if a signature could have been spared.
"""


def page(rows: Sequence[Row]) -> str:
    """Return the page in Markdown."""
    text = _BEFORE
    for cause, who in _WHO.items():
        text += f"\n## {cause.capitalize()}: {who[0].lower()}{who[1:]}\n\n"
        text += "| name | meaning | what to do | signed |\n|---|---|---|---|\n"
        for refusal in REFUSALS.values():
            if refusal.cause is cause:
                cells = (f"`{refusal.name}`", refusal.meaning, refusal.remedy, _signed(refusal, rows))
                text += "| " + " | ".join(cells) + " |\n"
    return text


def _signed(refusal: Refusal, rows: Sequence[Row]) -> str:
    name = SAME_AS.get(refusal.name, refusal.name)
    seen = [row for row in rows if row.name == name and row.when.is_foreseeable]
    if seen:
        return "yes" if any(row.signatures for row in seen) else "no"
    reason = BY_SHAPE.get(name) or EXCLUDED.get(name)
    return f"no: {reason}" if reason else "yes"
