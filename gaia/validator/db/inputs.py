"""What scores were made from, kept so that they can be made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gaia.validator.db.statements import SQL

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a run asks for and is scored at, as the settings had it when the first of it was settled."""

    day1_lead_hours: Sequence[int]
    final_lead_hours: Sequence[int]
    day1_fields: Sequence[str]
    final_fields: Sequence[str]

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Contract | None:
        """Return the column `contract`; None where it is NULL, as in each run until something of it is settled."""
        return None if stored is None else cls(**{name: stored[name] for name in cls.__slots__})

    @property
    def fields(self) -> list[str]:
        """Every field that is scored, those of ERA5 first."""
        return list(dict.fromkeys([*self.final_fields, *self.day1_fields]))


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


async def record_contract(connection: Connection, run_id: str, contract: Contract) -> None:
    """Store which leads and fields a run is scored at; the first time stays."""
    await connection.execute(SQL["record_contract"], run_id, asdict(contract))
