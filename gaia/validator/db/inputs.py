"""Stores the inputs of scores, so that scores can be recomputed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gaia.validator.db.statements import SQL
from gaia.validator.utils.identities import RunId

if TYPE_CHECKING:
    from gaia.validator.db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Leads and fields of a run, from the settings at the time of its first outcome."""

    day1_lead_hours: Sequence[int]
    final_lead_hours: Sequence[int]
    day1_fields: Sequence[str]
    final_fields: Sequence[str]

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> Contract | None:
        """Return the column `contract`; None if it is NULL, as before the first outcome of a run."""
        return None if stored is None else cls(**{name: stored[name] for name in cls.__slots__})

    @property
    def fields(self) -> list[str]:
        """All scored fields, those of ERA5 first."""
        return list(dict.fromkeys([*self.final_fields, *self.day1_fields]))


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadInputs:
    """Inputs of the units of one lead, without the forecasts."""

    handler: str
    payload: Mapping[str, Any]
    """Payload of the handler, with paths relative to the data folder."""
    digests: Mapping[str, Mapping[str, str]]
    """Role, such as "truth" -> field -> sha256."""


async def record_inputs(
    connection: Connection, run_id: RunId, rule_set: str, kind: str, lead_hours: int, inputs: LeadInputs
) -> None:
    """Store the inputs of a lead; an existing row stays."""
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


async def read_inputs(
    connection: Connection, run_id: RunId, rule_set: str, kind: str, lead_hours: int
) -> LeadInputs | None:
    """Return the inputs of a lead; None if none of its forecasts was scored."""
    row = await connection.fetchrow(SQL["read_inputs"], run_id, rule_set, kind, lead_hours)
    return None if row is None else LeadInputs(**row)


async def record_contract(connection: Connection, run_id: RunId, contract: Contract) -> None:
    """Store the leads and fields of a run; existing ones stay."""
    await connection.execute(SQL["record_contract"], run_id, asdict(contract))
