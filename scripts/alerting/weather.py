"""Alerts about runs, miners and truths."""

from __future__ import annotations

from alerting.rule import Alert, Case, Group, Series, Severity, series

TASK_LABEL = "task"
"""Label `job` of the metrics of recurring jobs: Prometheus keeps `job` for the scrape, and renames ours."""

_ACTIVE = "gaia_weather_runs_active"
_OPENED = "gaia_weather_last_run_opened_timestamp_seconds"
_AGE = "gaia_weather_oldest_open_run_age_seconds"
_DAY1 = "gaia_weather_score_day1"
_SUCCESS = "gaia_last_success_timestamp_seconds"
_DUE = "gaia_weather_truth_next_due_timestamp_seconds"
_REQUESTS = "gaia_miner_requests_total"
_TIMEOUTS = "gaia_miner_communication_timeouts_total"
_REFUSED = "gaia_verification_failures_total"
_CLOCK = "gaia_clock_timestamp_seconds"
"""The validator's calendar. Only a rehearsal has another than Prometheus."""
_DAY_S = 86400

_NONE = " ".join(["NaN"] * 60)
"""Samples of a source that no run waits for; promtool cannot repeat NaN."""
_NOW = series(_CLOCK, "0+1800x60")
_ASKED = f"sum without (call, outcome) (increase({_REQUESTS}[1h]))"


def _requests(timeouts: float) -> list[Series]:
    return [
        series(_REQUESTS, f"0+{timeouts}x90", call="forecast_ready", outcome="MinerUnreachable"),
        series(_REQUESTS, f"0+{1 - timeouts:g}x90", call="forecast_ready", outcome="ok"),
        series(_TIMEOUTS, f"0+{timeouts}x90"),
    ]


def _refused(usual: int, last: int) -> list[Series]:
    """Return half-hourly counts: `usual` a day for a week, and `last` on the last day."""
    before = f"0+{usual / 48}x384"
    return [series(_REFUSED, f"{before} {usual * 8 + last / 48}+{last / 48}x48", reason="digest")]


GROUP = Group(
    name="weather",
    alerts=(
        Alert(
            name="NoRecentActivity",
            expr=f'time() - {_SUCCESS}{{{TASK_LABEL}="main_scoring"}} > seconds(30m)',
            wait="1m",
            severity=Severity.WARNING,
            page=True,
            why=(
                "A healthy validator scores nothing for most of a day, so counts of work say nothing. The job"
                " main_scoring looks for work every few seconds, day and night."
            ),
            summary="{{ $labels.instance }} does nothing.",
            description="main_scoring last succeeded {{ $value | humanizeDuration }} ago, above 30 minutes.",
            fires=Case(
                given=[series(_SUCCESS, "60x60", **{TASK_LABEL: "main_scoring"})],
                at="40m",
                labels={TASK_LABEL: "main_scoring"},
                says="main_scoring last succeeded 39m 0s ago, above 30 minutes.",
            ),
            silent=Case(
                given=[
                    series(_SUCCESS, "600x60", **{TASK_LABEL: "main_scoring"}),
                    series(_SUCCESS, "0x60", **{TASK_LABEL: "database_monitor"}),
                ],
                at="40m",
            ),
        ),
        Alert(
            name="NoRunOpened",
            expr=f"{_CLOCK} - {_OPENED} > calendar(26h) and {_OPENED} > 0",
            wait="5m",
            severity=Severity.CRITICAL,
            page=True,
            why=(
                "Runs open daily, up to GAIA_RUN_JITTER_MINUTES late. A missed one can be opened for"
                " GAIA_RUN_LOOK_BACK_HOURS (6), so there are 4 hours left to act."
            ),
            summary="{{ $labels.instance }} has not opened today's run.",
            description="The newest run was opened {{ $value | humanizeDuration }} ago, above 26 hours.",
            fires=Case(
                given=[_NOW, series(_OPENED, "1800x60")],
                at="27h30m",
                every="30m",
                says="The newest run was opened 1d 3h 0m 0s ago, above 26 hours.",
            ),
            silent=Case(given=[_NOW, series(_OPENED, "1800x60")], at="26h", every="30m"),
        ),
        Alert(
            name="NoWeatherRuns",
            expr=f"max_over_time({_ACTIVE}[25h]) == 0 and on (instance) {_ACTIVE} offset 25h == 0",
            wait="30m",
            severity=Severity.WARNING,
            why=(
                "A new validator opens its first run within 24.5 hours. Each run stays open for 15 days, so after"
                " that there is always one. The second half needs 25 hours of samples."
            ),
            summary="{{ $labels.instance }} has no open run.",
            description="{{ $value }} runs were open at any time of the last 25 hours.",
            fires=Case(
                given=[series(_ACTIVE, "0x60")],
                at="26h",
                every="30m",
                says="0 runs were open at any time of the last 25 hours.",
            ),
            silent=Case(given=[series(_ACTIVE, "0x48 1x12")], at="26h", every="30m"),
        ),
        Alert(
            name="StuckWeatherRuns",
            expr=f"{_AGE} > calendar(17d)",
            wait="6h",
            severity=Severity.WARNING,
            why=(
                "A healthy run is open until ERA5 for its last lead is there: 10 days of forecast, 5 days and 6 hours"
                " of delay. 17 days leave room for a late ERA5."
            ),
            summary="A run of {{ $labels.instance }} does not come to its end.",
            description="The oldest open run is {{ $value | humanizeDuration }} old, above 17 days.",
            fires=Case(
                given=[series(_AGE, f"{18 * _DAY_S}x20")],
                at="7h",
                every="30m",
                says="The oldest open run is 18d 0h 0m 0s old, above 17 days.",
            ),
            silent=Case(given=[series(_AGE, f"{17 * _DAY_S}x20")], at="7h", every="30m"),
        ),
        Alert(
            name="LowScoringPerformance",
            expr=f'{_DAY1}{{statistic="median"}} < 0.3',
            wait="1h",
            severity=Severity.WARNING,
            why="The median of the newest run: one bad miner is that miner's affair, half of them may be ours.",
            summary="Day-1 scores of {{ $labels.instance }} are low.",
            description='The median day-1 score of the newest run is {{ $value | printf "%.2f" }}, below 0.3.',
            fires=Case(
                given=[
                    series(_DAY1, "0.29x90", statistic="median"),
                    series(_DAY1, "0.1x90", statistic="p10"),
                ],
                at="80m",
                labels={"statistic": "median"},
                says="The median day-1 score of the newest run is 0.29, below 0.3.",
            ),
            silent=Case(
                given=[series(_DAY1, "0.3x90", statistic="median"), series(_DAY1, "0.1x90", statistic="p10")],
                at="80m",
            ),
        ),
        Alert(
            name="MinersUnresponsive",
            expr=f"increase({_TIMEOUTS}[1h]) / {_ASKED} > 0.5 and {_ASKED} > 20",
            wait="10m",
            severity=Severity.WARNING,
            why=(
                "0.5 timeouts per second are never reached: 256 dead miners polled every 15 minutes make 0.28. So the"
                " share of the requests counts, where there were more than 20 in the hour."
            ),
            summary="Most requests of {{ $labels.instance }} to miners time out.",
            description="{{ $value | humanizePercentage }} of the requests of the last hour timed out, above 50%.",
            fires=Case(
                given=_requests(0.75),
                at="80m",
                says="75% of the requests of the last hour timed out, above 50%.",
            ),
            silent=Case(given=_requests(0.5), at="80m"),
        ),
        Alert(
            name="TruthLate",
            expr=f"{_CLOCK} - on (instance) group_right {_DUE} > calendar(24h)",
            wait="1h",
            severity=Severity.WARNING,
            why="Leads wait for their truth, and are given up in the end. A day of delay is rare for every source.",
            summary="A truth that {{ $labels.instance }} waits for is late.",
            description=(
                "The oldest missing set of {{ $labels.source }} was due {{ $value | humanizeDuration }} ago,"
                " above 24 hours."
            ),
            fires=Case(
                given=[
                    _NOW,
                    series(_DUE, "1800x60", source="era5"),
                    series(_DUE, _NONE, source="gfs"),
                ],
                at="26h",
                every="30m",
                labels={"source": "era5"},
                says="The oldest missing set of era5 was due 1d 1h 30m 0s ago, above 24 hours.",
            ),
            silent=Case(
                given=[
                    _NOW,
                    series(_DUE, "7200x60", source="era5"),
                    series(_DUE, _NONE, source="gfs"),
                ],
                at="26h",
                every="30m",
            ),
        ),
        Alert(
            name="VerificationFailures",
            expr=(
                f"sum without (reason) (increase({_REFUSED}[1d])) > 20"
                f" and sum without (reason) (increase({_REFUSED}[1d]))"
                f" > 3 * sum without (reason) (increase({_REFUSED}[7d] offset 1d)) / 7"
            ),
            severity=Severity.INFO,
            why="Lying miners are every day's business. Three times the usual number may be a change of ours.",
            summary="{{ $labels.instance }} refuses many more forecasts than usual.",
            description='{{ $value | printf "%.0f" }} forecasts failed their verification in a day.',
            fires=Case(
                given=_refused(usual=12, last=48),
                at="216h",
                every="30m",
                says="48 forecasts failed their verification in a day.",
            ),
            silent=Case(given=_refused(usual=12, last=24), at="216h", every="30m"),
        ),
    ),
)
