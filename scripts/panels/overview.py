"""The first row: whether all is well."""

from __future__ import annotations

from panels.panel import Kind, Panel, Row, Unit, query

ROW = Row(
    title="All in one look",
    panels=(
        Panel(
            title="Weights age",
            description="Time since this validator last set weights. ValidatorWeightsStale fires at 3 hours.",
            queries=[query("time() - (gaia_weights_last_set_timestamp_seconds{@} > 0)")],
            unit=Unit.SECONDS,
            kind=Kind.NUMBER,
            warning=5400,
            critical=10800,
        ),
        Panel(
            title="Alerts that fire",
            description="Number of alerts that fire now, without the dead man's switch.",
            queries=[
                query(
                    'count by (instance) (ALERTS{@, alertstate="firing", alertname=~"Validator.*"})'
                    " or on (instance) gaia_build_info{@} * 0"
                )
            ],
            unit=Unit.COUNT,
            kind=Kind.NUMBER,
            warning=1,
            critical=5,
        ),
        Panel(
            title="Last look for work",
            description="Time since the job main_scoring last succeeded. It looks for work every few seconds.",
            queries=[query('time() - gaia_last_success_timestamp_seconds{@, task="main_scoring"}')],
            unit=Unit.SECONDS,
            kind=Kind.NUMBER,
            warning=300,
            critical=1800,
        ),
        Panel(
            title="Chain",
            description="Whether the last reading of the chain succeeded.",
            queries=[query("gaia_substrate_connection_status{@}")],
            unit=Unit.YES_NO,
            kind=Kind.NUMBER,
            warning=0.9,
            critical=0.5,
        ),
        Panel(
            title="Open runs",
            description="Runs that are not completed. After two weeks there are about 15.",
            queries=[query("gaia_weather_runs_active{@}")],
            unit=Unit.COUNT,
            kind=Kind.NUMBER,
        ),
        Panel(
            title="Vectors in doubt",
            description="Weight vectors whose fate on chain is not known yet.",
            queries=[query("gaia_weights_vectors_in_doubt{@}")],
            unit=Unit.COUNT,
            kind=Kind.NUMBER,
            warning=1,
            critical=3,
        ),
        Panel(
            title="Disk free",
            description="Free share of the file system of the data folder.",
            queries=[query("gaia_disk_free_bytes{@} / gaia_disk_size_bytes{@}")],
            unit=Unit.SHARE,
            kind=Kind.NUMBER,
            warning=0.2,
            critical=0.1,
        ),
        Panel(
            title="Healthy seats",
            description="Share of the seats of the compute pool whose worker answers.",
            queries=[query("gaia_pool_healthy_seats{@} / gaia_pool_seats{@}")],
            unit=Unit.SHARE,
            kind=Kind.NUMBER,
            warning=0.99,
            critical=0.5,
        ),
        Panel(
            title="Release",
            description="Version, commit, rule set and digest of the settings of each validator.",
            queries=[query("gaia_build_info{@}", "version commit rule_set config")],
            unit=Unit.COUNT,
            kind=Kind.TABLE,
        ),
    ),
)
