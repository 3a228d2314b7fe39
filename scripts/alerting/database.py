"""Alerts about the database."""

from __future__ import annotations

from alerting.rule import INSTANCE, Alert, Case, Group, Recording, Series, Severity, series

_ACTIVE = "gaia_db_connections_active"
_MOST = "gaia_db_connections_max"
_FAILURES = "gaia_db_failures_total"
_LEASE = "gaia_lease_held"

IN_USE = Recording(
    name="gaia:db_connections:ratio",
    expr=f"{_ACTIVE} / {_MOST}",
    why="A pool of GAIA_DATABASE_POOL_SIZE (8) never has 15 or 20 connections, so the share of it decides.",
)


def _lease(validator: str, values: str) -> Series:
    return series(_LEASE, values, instance=validator)


def _connections(active: int) -> list[Series]:
    return [series(_ACTIVE, f"{active}x30"), series(_MOST, "8x30")]


GROUP = Group(
    name="database",
    alerts=(
        Alert(
            name="DatabaseConnectionsHigh",
            expr=f"{IN_USE.name} > 0.75",
            wait="10m",
            severity=Severity.WARNING,
            why="Three quarters of the pool, as 15 are of 20.",
            summary="The database connections of {{ $labels.instance }} are nearly all in use.",
            description="{{ $value | humanizePercentage }} of the connections are in use, above 75%.",
            fires=Case(
                given=_connections(7), at="15m", says="87.5% of the connections are in use, above 75%."
            ),
            silent=Case(given=_connections(6), at="15m"),
        ),
        Alert(
            name="DatabaseConnectionsExhausted",
            expr=f"{IN_USE.name} >= 1",
            wait="1m",
            severity=Severity.CRITICAL,
            why="All of the pool, as 20 are of 20.",
            summary="All database connections of {{ $labels.instance }} are in use.",
            description="{{ $value | humanizePercentage }} of the connections are in use.",
            fires=Case(given=_connections(8), at="15m", says="100% of the connections are in use."),
            silent=Case(given=_connections(7), at="15m"),
        ),
        Alert(
            name="DatabaseFailures",
            expr=f'sum without (kind) (rate({_FAILURES}{{kind!="Conflict"}}[5m])) > 0.02',
            wait="5m",
            severity=Severity.WARNING,
            why="A conflict is repeated at once and costs nothing. 0.02 per second is 6 in 5 minutes.",
            summary="The database of {{ $labels.instance }} fails.",
            description='{{ $value | printf "%.2f" }} failures per second, above 0.02.',
            fires=Case(
                given=[
                    series(_FAILURES, "0+3x30", kind="ConnectionLost"),
                    series(_FAILURES, "0+60x30", kind="Conflict"),
                ],
                at="15m",
                says="0.05 failures per second, above 0.02.",
            ),
            silent=Case(
                given=[
                    series(_FAILURES, "0+1x30", kind="ConnectionLost"),
                    series(_FAILURES, "0+60x30", kind="Conflict"),
                ],
                at="15m",
            ),
        ),
        Alert(
            name="NoLeaseHolder",
            expr=f"{_LEASE} == 0 unless on (job) {_LEASE} == 1",
            wait="5m",
            severity=Severity.CRITICAL,
            why=(
                "A planned takeover lasts seconds, and one after a death 15. A standby is silent while any validator of"
                " its job holds the lease. Then nobody asks miners or sets weights. No page: WeightsStale says when"
                " that costs something."
            ),
            summary="{{ $labels.instance }} waits for the lease of its database, and so does every other validator.",
            description=(
                "For 5 minutes the lease has been {{ $value }} here, and 1 at no validator of job {{ $labels.job }}."
            ),
            fires=Case(
                given=[_lease(INSTANCE, "1x4 0x20"), _lease("standby:9090", "0x4 _x20")],
                at="12m",
                says="For 5 minutes the lease has been 0 here, and 1 at no validator of job gaia.",
            ),
            silent=Case(
                # Each takes over from the other, and the engine of the standby is replaced for a minute.
                given=[
                    _lease(INSTANCE, "1x8 0x20"),
                    _lease("standby:9090", "0x5 _ 0x2 1x20"),
                ],
                at="25m",
            ),
        ),
    ),
)
