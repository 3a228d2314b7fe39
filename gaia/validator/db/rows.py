"""Rows as the reading functions of this package return them; enums where the schema has a CHECK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gaia.validator.db.states import ForecastState, RunState, VectorState
from gaia.validator.utils.identities import Hotkey, RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRow:
    """One miner's part in one run, and how it ended."""

    run_id: RunId
    hotkey: Hotkey
    uid: int
    registered_at: int
    state: ForecastState
    reason: str | None
    manifest_sha256: str | None
    committed_at: datetime | None
    """When its manifest was frozen."""
    manifest: bytes | None = None
    """As signed; None also where it was not asked for, and so with `signature`."""
    signature: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentRow:
    """What one forecast scored in one field at one lead."""

    run_id: RunId
    hotkey: Hotkey
    rule_set: str
    kind: str
    field: str
    lead_hours: int
    forecast_digest: str
    truth_digest: str
    scored_at: datetime
    measures: Mapping[str, float | None]
    """By name, in the order of the columns; None: not defined, not asked for, or scored before it was kept."""

    @property
    def rmse(self) -> float:
        return self._defined("rmse")

    @property
    def mse(self) -> float:
        return self._defined("mse")

    @property
    def bias(self) -> float:
        return self._defined("bias")

    def _defined(self, name: str) -> float:
        """Return a measure that each component has."""
        value = self.measures[name]
        assert value is not None
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadRow:
    """The score of one lead, and what it cost."""

    run_id: RunId
    hotkey: Hotkey
    rule_set: str
    kind: str
    lead_hours: int
    score: float
    reason: str | None
    """Why there was nothing to score."""
    cpu_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """What weights are made of: one forecast under one rule set."""

    run_id: RunId
    hotkey: Hotkey
    rule_set: str
    day1: float | None
    leads: Mapping[str, float]
    """Lead in hours, as JSON has it -> its score."""
    overall: float
    counted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InputsRow:
    """What the units of one lead were given, but for the forecasts."""

    run_id: RunId
    rule_set: str
    kind: str
    lead_hours: int
    handler: str
    payload: Mapping[str, Any]
    digests: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverallRow:
    """An overall score and who earned it."""

    run_id: RunId
    init_time: datetime
    run_state: RunState
    rule_set: str
    hotkey: Hotkey
    uid: int
    registered_at: int
    state: ForecastState
    day1: float | None
    overall: float
    counted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """CPU seconds of a run under one rule set."""

    run_id: RunId
    rule_set: str
    leads: int
    """How many leads they were spent on."""
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorRow:
    """One entry of the journal of weight vectors."""

    netuid: int
    mechid: int
    epoch: int
    rule_set: str
    vector: list[list[int]]
    """[uid, u16] pairs."""
    vector_sha256: str
    weights: Mapping[str, float]
    """By hotkey, before quantising."""
    run_ids: Sequence[str]
    state: VectorState
    intended_at: datetime
    block: int | None
    block_hash: str | None
    extrinsic: str | None
    error: str | None
    inputs: Mapping[str, Any] | None
    """Names parts of what it was computed from; None: written before this was kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorOnChain:
    """The newest vector that stands on chain."""

    epoch: int
    block: int
    block_hash: str | None
    extrinsic: str | None
    settled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorInDoubt:
    """A vector that was promised and neither set nor lost."""

    epoch: int
    state: VectorState
    intended_at: datetime
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRow:
    """A party outside of us that fails now."""

    party: str
    began_at: datetime
    last_at: datetime
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedRow:
    """What one archive did not give."""

    source: str
    sets: int
    retry_at: datetime | None
    last_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceCounts:
    """How many sets of reference fields there are."""

    ready: int
    awaited: int
