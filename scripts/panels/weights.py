"""Rows about the chain, weights and the disk."""

from __future__ import annotations

from panels.panel import Panel, Row, Unit, query

WEIGHTS = Row(
    title="Chain and weights",
    panels=(
        Panel(
            title="Weights age over time",
            description="Time since this validator last set weights.",
            queries=[query("time() - (gaia_weights_last_set_timestamp_seconds{@} > 0)")],
            unit=Unit.SECONDS,
            warning=5400,
            critical=10800,
        ),
        Panel(
            title="Blocks since weights",
            description="Blocks of the chain since this validator last set weights.",
            queries=[query("gaia_chain_block{@} - (gaia_weights_last_set_block{@} > 0)")],
            unit=Unit.COUNT,
            warning=500,
            critical=900,
        ),
        Panel(
            title="Weight submissions",
            description="Submissions in the last hour, by outcome. Held: due, but nothing could be computed yet.",
            queries=[query("increase(gaia_weights_submissions_total{@}[1h])", "outcome")],
            unit=Unit.COUNT,
        ),
        Panel(
            title="Refusals",
            description="Weights that the chain refused, or would have, in the last hour, by who must act.",
            queries=[query("increase(gaia_weights_refusals_total{@}[1h])", "cause")],
            unit=Unit.COUNT,
        ),
        Panel(
            title="Doubts",
            description="Weight vectors whose fate on chain is not known yet.",
            queries=[query("gaia_weights_vectors_in_doubt{@}")],
            unit=Unit.COUNT,
            warning=1,
            critical=3,
        ),
        Panel(
            title="Validator trust",
            description="Our vtrust in the last epoch, and in the next one with our newest vector.",
            queries=[query("gaia_weights_trust{@}", "epoch")],
            unit=Unit.SHARE,
            most=1,
        ),
        Panel(
            title="Chain failures",
            description="Failed readings of the chain in the last hour.",
            queries=[query("increase(gaia_substrate_failures_total{@}[1h])")],
            unit=Unit.COUNT,
        ),
        Panel(
            title="Nodes of the chain",
            description="2 for a node that answers and is believed, 1 for one that is not, 0 for a silent one.",
            queries=[query("gaia_chain_node_state{@}", "node")],
            unit=Unit.COUNT,
            most=2,
        ),
        Panel(
            title="Open incidents",
            description="1 while a party outside the validator fails.",
            queries=[query("gaia_incident_open{@}", "party")],
            unit=Unit.COUNT,
            warning=0.5,
            critical=1,
            most=1,
        ),
    ),
)
HOST = Row(
    title="Disk and releases",
    panels=(
        Panel(
            title="Disk used",
            description="Bytes in the data folder, by kind.",
            queries=[query("gaia_disk_used_bytes{@}", "kind")],
            unit=Unit.BYTES,
            is_stacked=True,
        ),
        Panel(
            title="Disk free over time",
            description="Free and total bytes of the file system of the data folder.",
            queries=[
                query("label_replace(gaia_disk_free_bytes{@}, 'what', 'free', '', '')", "what"),
                query("label_replace(gaia_disk_size_bytes{@}, 'what', 'size', '', '')", "what"),
            ],
            unit=Unit.BYTES,
        ),
        Panel(
            title="Update available",
            description="Whether the check for updates found a newer release. It is off by default.",
            queries=[query("gaia_update_available{@}")],
            unit=Unit.YES_NO,
            warning=1,
            critical=2,
        ),
    ),
)
