"""What scores were made from, kept so that they can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadInputs:
    """What the units of one lead were given, but for the forecasts."""

    handler: str
    payload: Mapping[str, Any]
    """As the handler had it, its paths relative to the data folder."""
    digests: Mapping[str, Mapping[str, str]]
    """Role, such as "truth", to the sha256 of each field."""


async def record_inputs(
    connection: Connection, run_id: str, rule_set: str, kind: str, lead_hours: int, inputs: LeadInputs
) -> None:
    """Store what a lead is scored with; the first time stays."""
    await connection.execute(
        SQL["record_inputs"],
        run_id,
        rule_set,
        kind,
        lead_hours,
        inputs.handler,
        inputs.payload,
        inputs.digests,
    )


async def record_contract(connection: Connection, run_id: str, contract: Mapping[str, Any]) -> None:
    """Store which leads and fields a run is scored at; the first time stays."""
    await connection.execute(SQL["record_contract"], run_id, contract)


async def record_cost(
    connection: Connection, run_id: str, hotkey: str, rule_set: str, kind: str, lead_hours: int, cpu_s: float
) -> None:
    """Store the CPU seconds of a scored lead; the first time stays."""
    await connection.execute(SQL["record_cost"], run_id, hotkey, rule_set, kind, lead_hours, cpu_s)
