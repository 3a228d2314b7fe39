"""The two kinds of leads."""

from enum import StrEnum


class LeadKind(StrEnum):
    """Kind of a lead: scored on day 1 or against ERA5; SQL and JSON hold the text."""

    DAY1 = "day1"
    FINAL = "final"
