"""The two kinds of lead that a run is scored by."""

from enum import StrEnum


class LeadKind(StrEnum):
    """When a lead is scored; the text is what SQL and JSON hold."""

    DAY1 = "day1"
    FINAL = "final"
