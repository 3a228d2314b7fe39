"""Alerts about the disk."""

from __future__ import annotations

from alerting.rule import Alert, Case, Group, Recording, Series, Severity, series

_FREE = "gaia_disk_free_bytes"
_SIZE = "gaia_disk_size_bytes"

FREE = Recording(
    name="gaia:disk_free:ratio",
    expr=f"{_FREE} / {_SIZE}",
    why="The file system of the data folder, not every disk of the host.",
)


def _disk(free: str) -> list[Series]:
    return [series(_FREE, free), series(_SIZE, "1000x500")]


def _space(name: str, percent: int, wait: str, severity: Severity, *, page: bool) -> Alert:
    return Alert(
        name=name,
        expr=f"{FREE.name} < {percent / 100}",
        wait=wait,
        severity=severity,
        page=page,
        summary="The disk of {{ $labels.instance }} fills up.",
        description=f"{{{{ $value | humanizePercentage }}}} of the disk are free, below {percent}%.",
        fires=Case(
            given=_disk(f"{percent * 10 - 10}x20"),
            at="10m",
            says=f"{percent - 1}% of the disk are free, below {percent}%.",
        ),
        silent=Case(given=_disk(f"{percent * 10}x20"), at="10m"),
    )


GROUP = Group(
    name="disk",
    alerts=(
        _space("DiskSpaceLow", 20, "5m", Severity.WARNING, page=False),
        _space("DiskSpaceCritical", 10, "2m", Severity.CRITICAL, page=True),
        Alert(
            name="DiskFillsIn4Days",
            expr=f"predict_linear({_FREE}[6h], seconds(4d)) < 0 and on (instance) {FREE.name} < 0.5",
            wait="1h",
            severity=Severity.WARNING,
            why="The spool grows for hours each day and is emptied: above half of the disk that is no danger.",
            summary="The disk of {{ $labels.instance }} will be full within four days.",
            description="At the rate of the last 6 hours {{ $value | humanize }} bytes will be free in 4 days.",
            fires=Case(
                given=_disk("480-0.1x480"),
                at="470m",
                says="At the rate of the last 6 hours -143 bytes will be free in 4 days.",
            ),
            silent=Case(given=_disk("480-0.05x480"), at="470m"),
        ),
    ),
)
