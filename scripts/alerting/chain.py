"""Alerts about the nodes through which the chain is read."""

from __future__ import annotations

from alerting.rule import Alert, Case, Group, Severity, series

_STATE = "gaia_chain_node_state"
_FEW = f"sum by (instance, job) ({_STATE} == bool 2) < 2 and count by (instance, job) ({_STATE}) > 1"

GROUP = Group(
    name="chain",
    alerts=(
        Alert(
            name="ChainNodeDistrusted",
            expr=f"{_STATE} == 1",
            severity=Severity.WARNING,
            why=(
                "A node is believed no more after two contradictions to most nodes within an hour, so one is enough to"
                " tell. No page: what the others say is used."
            ),
            summary="{{ $labels.instance }} no longer believes a node of the chain.",
            description="The node {{ $labels.node }} contradicted most nodes, so its state is {{ $value }}.",
            fires=Case(
                given=[series(_STATE, "2x5 1x20", node="one.example")],
                at="8m",
                says="The node one.example contradicted most nodes, so its state is 1.",
                labels={"node": "one.example"},
            ),
            silent=Case(given=[series(_STATE, "2x4 0x20", node="one.example")], at="8m"),
        ),
        Alert(
            name="ChainNodesFew",
            expr=_FEW,
            wait="1h",
            severity=Severity.WARNING,
            why=(
                "Public nodes are often away for minutes. With one node of several, nobody would contradict a lie. A"
                " validator with a single node by choice is left alone."
            ),
            summary="{{ $labels.instance }} reads the chain through one node alone.",
            description="For an hour {{ $value }} of its nodes have answered and been believed.",
            fires=Case(
                given=[
                    series(_STATE, "2x90", node="one.example"),
                    series(_STATE, "2x5 0x90", node="two.example"),
                ],
                at="80m",
                says="For an hour 1 of its nodes have answered and been believed.",
            ),
            silent=Case(
                given=[
                    series(_STATE, "2x90", node="one.example"),
                    series(_STATE, "0x50 2 0x50", node="two.example"),
                ],
                at="80m",
            ),
        ),
    ),
)
