"""Describes the fields of a forecast that could not be scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.validator.utils.errors import GaiaError, MinerFault

if TYPE_CHECKING:
    from gaia.tasks.defined_tasks.weather.unit_client import UnitClient
    from gaia.tasks.defined_tasks.weather.units import DescribeForecast, FieldDescription
    from gaia.validator.utils.identities import JobId


async def diagnose(units: UnitClient, unit: DescribeForecast, job_id: JobId, error: MinerFault) -> None:
    """Add the statistics of the fields to `error`, or the reason why they cannot be read."""
    try:
        done = await units.run_unit(unit, job_id)
    except GaiaError as failure:
        error.add_note(f"not readable: {failure}")
        return
    error.add_note("; ".join(_sentence(field, found) for field, found in done.answer.fields.items()))


def _sentence(field: str, found: FieldDescription) -> str:
    return (
        f"{field}: {found.finite_fraction:.6f} finite, {found.minimum} to {found.maximum}, mean {found.mean}"
    )
