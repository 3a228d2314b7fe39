"""Settings of the forecast contract: what miners must deliver, and which parts are scored."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from gaia.validator.utils.setting_sources import HandedSettings, broken_rule, setting

LEADS_HOURS = tuple(range(24, 241, 24))
"""Default leads that are scored against ERA5."""

_FINAL_FIELDS = (
    "2t 10u 10v msl"
    " t50 t100 t150 t200 t250 t300 t400 t500 t600 t700 t850 t925 t1000"
    " u50 u100 u150 u200 u250 u300 u400 u500 u600 u700 u850 u925 u1000"
    " v50 v100 v150 v200 v250 v300 v400 v500 v600 v700 v850 v925 v1000"
    " q50 q100 q150 q200 q250 q300 q400 q500 q600 q700 q850 q925 q1000"
    " z50 z100 z150 z200 z250 z300 z400 z500 z600 z700 z850 z925 z1000"
)


class ContractSettings(HandedSettings):
    """Settings for requesting and scoring forecasts.

    This module does not know the names of weather fields; `app.startup.reading` checks them.
    """

    heading: ClassVar[str] = "Forecast contract"

    grid_degrees: Literal["0.25", "1.0"] = setting(
        "0.25",
        "Grid spacing of the forecasts, in degrees. All validators of the subnet should use the same.",
    )
    forecast_steps: int = setting(
        40, "Number of lead times in a forecast.", "WEATHER_INFERENCE_STEPS", ge=1, le=400
    )
    forecast_step_hours: int = setting(
        6, "Hours between two lead times of a forecast.", "WEATHER_FORECAST_STEP_HOURS", ge=1, le=24
    )
    day1_lead_hours: list[int] = setting(
        [12],
        "Lead times, in hours, that are scored against the GFS analysis on day 1.",
        "WEATHER_INITIAL_SCORING_LEAD_HOURS",
    )
    day1_fields: list[str] = setting(
        ["2t", "msl", "10u", "10v", "z500"],
        "Fields that are scored on day 1. A name is a variable, with its level in hPa where it has levels.",
    )
    day1_give_up_hours: float = setting(
        48.0,
        "Hours to wait for the GFS analysis of a day-1 lead. After that, the lead counts for no miner.",
        ge=6,
    )
    final_lead_hours: list[int] = setting(
        list(LEADS_HOURS),
        "Lead times, in hours, that are scored against ERA5.",
        "WEATHER_FINAL_SCORING_LEAD_HOURS",
    )
    final_give_up_days: float = setting(
        30.0,
        "Days to wait for whatever else a lead is compared with, such as ERA5, from the time it is valid for. After"
        " that, the lead counts for no miner. Keep it longer than GAIA_WEIGHTS_WINDOW_DAYS: then no weights change.",
        ge=7,
    )
    final_fields: list[str] = setting(
        _FINAL_FIELDS.split(),
        "Fields that are scored against ERA5. Fewer fields need less traffic and CPU time.",
    )

    @model_validator(mode="after")
    def _agree_on_what_is_scored(self) -> Self:
        for name in ("day1_fields", "final_fields"):
            fields = getattr(self, name)
            if not fields or len(set(fields)) < len(fields):
                raise broken_rule(name, "is empty or names a field twice", "name each field once")
        for name in ("day1_lead_hours", "final_lead_hours"):
            _check_leads(name, getattr(self, name), self.forecast_step_hours, self.forecast_steps)
        return self


def _check_leads(name: str, leads: list[int], step_hours: int, steps: int) -> None:
    offered = range(step_hours, step_hours * steps + 1, step_hours)
    strange = [lead for lead in leads if lead not in offered]
    if strange:
        problem = f"no forecast has a lead of {strange[0]} h"
        remedy = f"use multiples of {step_hours} up to {offered[-1]}, or change GAIA_FORECAST_STEPS"
        raise broken_rule(name, problem, remedy)
    if not leads or len(set(leads)) < len(leads):
        raise broken_rule(name, "is empty or names a lead twice", "name each lead once")
