"""Runbooks about the nodes through which the chain is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gaia.cli.runbooks import shared
from gaia.cli.runbooks.branch import Branch, Runbook

if TYPE_CHECKING:
    from collections.abc import Callable

    from gaia.cli.runbooks.facts import Facts


def _in_state(state: float) -> Callable[[Facts], str]:
    """Return a look for nodes in one state of their metric."""

    def look(facts: Facts) -> str:
        nodes = facts.samples.by("gaia_chain_node_state", "node") if facts.samples else {}
        return ", ".join(sorted(node for node, value in nodes.items() if value == state))

    return look


DISTRUSTED = Branch(
    sentence="A node contradicts most of the others.",
    remedy="`gaia logs --event chain_node_contradicted` says about what. Replace it in `GAIA_CHAIN_MORE_ENDPOINTS`.",
    look=_in_state(1.0),
)
SILENT = Branch(
    sentence="Nodes do not answer.",
    remedy="`gaia logs --event chain_node_failed` says why. Replace them in `GAIA_CHAIN_MORE_ENDPOINTS` if they stay away.",
    look=_in_state(0.0),
)

RUNBOOKS: Final = (
    Runbook(
        alert="ChainNodeDistrusted",
        meaning="A node told something else about a block than most nodes did, at least twice within an hour.",
        impact="None: what most nodes say is used. With three nodes, a second one that fails or lies holds the weights.",
        branches=(*shared.RUNNING, DISTRUSTED),
    ),
    Runbook(
        alert="ChainNodesFew",
        meaning="Several nodes are configured, and for an hour at most one of them has answered.",
        impact="Weights are set, but nobody would contradict a lie of that node. Nothing ends on its word alone.",
        branches=(*shared.RUNNING, shared.CHAIN_CLOSED, SILENT, DISTRUSTED),
    ),
)
