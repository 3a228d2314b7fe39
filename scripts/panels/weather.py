"""Rows about runs, miners and archives."""

from __future__ import annotations

from panels.panel import Panel, Row, Unit, query

WEATHER = Row(
    title="Weather",
    panels=(
        Panel(
            title="Forecast Runs",
            description="Runs that are not completed.",
            queries=[query("gaia_weather_runs_active{@}")],
            unit=Unit.COUNT,
        ),
        Panel(
            title="Miners by state",
            description="Forecasts of the open runs, by state.",
            queries=[query("gaia_weather_forecasts{@}", "state")],
            unit=Unit.COUNT,
            is_stacked=True,
        ),
        Panel(
            title="Scoring Metrics: day 1",
            description="Day-1 scores of the newest run that has any: mean, median and deciles.",
            queries=[query("gaia_weather_score_day1{@}", "statistic")],
            unit=Unit.SCORE,
            warning=0.3,
            critical=0.1,
            least=None,
        ),
        Panel(
            title="Scoring Metrics: against ERA5",
            description="Scores against ERA5 of the newest run that has any: mean, median and deciles.",
            queries=[query("gaia_weather_score_era5_final{@}", "statistic")],
            unit=Unit.SCORE,
            least=None,
        ),
        Panel(
            title="Age of the newest truth",
            description="Time since the moment that the newest truth describes, by source.",
            queries=[query("gaia_weather_truth_age_seconds{@}", "source")],
            unit=Unit.SECONDS,
        ),
        Panel(
            title="Next truth due",
            description="Time until the oldest missing truth is usually published. Below 0 it is late.",
            queries=[
                query(
                    "(gaia_weather_truth_next_due_timestamp_seconds{@} > 0)"
                    " - on (instance) group_left gaia_clock_timestamp_seconds{@}",
                    "source",
                )
            ],
            unit=Unit.SECONDS,
            warning=0,
            critical=-86400,
            least=None,
        ),
        Panel(
            title="Reference sets",
            description="Reference sets that are ready or awaited, by source.",
            queries=[query("gaia_weather_truth_sets{@}", "source state")],
            unit=Unit.COUNT,
        ),
        Panel(
            title="Oldest open run, newest opening",
            description="Age of the oldest open run, and time since a run was opened.",
            queries=[
                query(
                    "label_replace(gaia_weather_oldest_open_run_age_seconds{@}, 'what', 'oldest', '', '')",
                    "what",
                ),
                query(
                    "label_replace(gaia_clock_timestamp_seconds{@} - on (instance)"
                    " (gaia_weather_last_run_opened_timestamp_seconds{@} > 0), 'what', 'opened', '', '')",
                    "what",
                ),
            ],
            unit=Unit.SECONDS,
        ),
        Panel(
            title="Refused forecasts",
            description="Forecasts rejected and leads forfeited in the last day, by reason.",
            queries=[query("increase(gaia_verification_failures_total{@}[1d])", "reason")],
            unit=Unit.COUNT,
            is_stacked=True,
        ),
    ),
)
MINERS = Row(
    title="Miners and archives",
    panels=(
        Panel(
            title="Miner requests",
            description="Requests to miners per second, by call and outcome.",
            queries=[query("rate(gaia_miner_requests_total{@}[])", "call outcome")],
            unit=Unit.PER_SECOND,
        ),
        Panel(
            title="Miner requests (95th percentile)",
            description="Duration that 95 of 100 requests do not exceed, by call.",
            queries=[query("histogram_quantile(0.95, rate(gaia_miner_request_seconds_bucket{@}[]))", "call")],
            unit=Unit.SECONDS,
        ),
        Panel(
            title="Miner traffic",
            description="Bytes received from miners per second.",
            queries=[query("rate(gaia_miner_received_bytes_total{@}[])")],
            unit=Unit.BYTES_PER_SECOND,
        ),
        Panel(
            title="Miner timeouts",
            description="Requests to miners that timed out, in the last hour.",
            queries=[query("increase(gaia_miner_communication_timeouts_total{@}[1h])")],
            unit=Unit.COUNT,
        ),
        Panel(
            title="Source requests",
            description="Requests to GFS, ERA5 and the climatology in the last hour, by outcome.",
            queries=[query("increase(gaia_source_requests_total{@}[1h])", "source outcome")],
            unit=Unit.COUNT,
        ),
        Panel(
            title="Source traffic",
            description="Bytes received per second, by source.",
            queries=[query("rate(gaia_source_received_bytes_total{@}[])", "source")],
            unit=Unit.BYTES_PER_SECOND,
        ),
        Panel(
            title="Time spent on sources",
            description="Seconds of requests per second, by source: how many run at a time.",
            queries=[query("rate(gaia_source_request_seconds_total{@}[])", "source")],
            unit=Unit.COUNT,
        ),
    ),
)
