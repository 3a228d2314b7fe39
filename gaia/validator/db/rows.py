"""Types of the rows that this package returns, with enums for columns that have a CHECK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from gaia.validator.db.states import ForecastState, RunState, VectorState
from gaia.validator.utils.identities import Hotkey, RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRow:
    """One miner's forecast in one run, and its outcome."""

    run_id: RunId
    hotkey: Hotkey
    uid: int
    registered_at: int
    state: ForecastState
    reason: str | None
    manifest_sha256: str | None
    committed_at: datetime | None
    """Time at which its manifest was frozen."""
    manifest: bytes | None = None
    """The signed bytes; None if missing or not requested, as for `signature`."""
    signature: bytes | None = None
    signed_by: str | None = None
    """Hotkey that signed them, if the miner had swapped its own since it was asked; None: `hotkey`, or unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentRow:
    """Measures of one forecast in one field at one lead."""

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
    """Measures by name, in the order of the columns; None: undefined, unrequested or not stored then."""

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
        """Return a measure that every component has."""
        value = self.measures[name]
        assert value is not None
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadRow:
    """Score and cost of one lead."""

    run_id: RunId
    hotkey: Hotkey
    rule_set: str
    kind: str
    lead_hours: int
    score: float
    reason: str | None
    """Reason why nothing was scored."""
    cpu_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """Scores of one forecast under one rule set, the input of weights."""

    run_id: RunId
    hotkey: Hotkey
    rule_set: str
    day1: float | None
    leads: Mapping[str, float]
    """Lead in hours, as text -> score."""
    overall: float
    counted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InputsRow:
    """Inputs of the units of one lead, without the forecasts."""

    run_id: RunId
    rule_set: str
    kind: str
    lead_hours: int
    handler: str
    payload: Mapping[str, Any]
    digests: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverallRow:
    """An overall score with its miner."""

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
    """Cost of a run under one rule set, in CPU seconds."""

    run_id: RunId
    rule_set: str
    leads: int
    """Number of computed leads."""
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
    """Hotkey -> weight before quantisation."""
    run_ids: Sequence[str]
    state: VectorState
    intended_at: datetime
    block: int | None
    block_hash: str | None
    extrinsic: str | None
    error: str | None
    inputs: Mapping[str, Any] | None
    """Names of the parts of its inputs; None in entries of older releases."""
    promised_block: int | None
    """Block of the metagraph that it was computed with; None in entries of older releases."""
    commit_block: int | None
    """Block of its commit; None: it was set plainly, or no commit of it is known."""
    read_back: list[list[int]] | None = None
    """[uid, u16] pairs that the chain then held; other uids than the vector's if miners had moved or left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSummary:
    """The parts of a journalled vector that are shown."""

    epoch: int
    state: VectorState
    rule_set: str
    block: int | None
    block_hash: str | None
    extrinsic: str | None
    intended_at: datetime
    error: str | None
    run_ids: Sequence[RunId]

    @classmethod
    def of(cls, vector: VectorRow) -> VectorSummary:
        """Return the summary of `vector`."""
        return cls(**{name: getattr(vector, name) for name in cls.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentVector:
    """A journalled vector, without its values."""

    epoch: int
    rule_set: str
    state: VectorState
    intended_at: datetime
    settled_at: datetime | None
    block: int | None
    extrinsic: str | None
    error: str | None
    runs: int
    """Number of runs that it was computed from."""
    renews: int | None
    """Epoch whose vector was set again by it; None: it was computed anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorOnChain:
    """The newest vector on chain."""

    epoch: int
    block: int
    block_hash: str | None
    extrinsic: str | None
    settled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorInDoubt:
    """A vector in doubt."""

    epoch: int
    state: VectorState
    intended_at: datetime
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentRow:
    """An outside party that fails now."""

    party: str
    began_at: datetime
    last_at: datetime
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusDay:
    """What the epochs of one day (UTC) gave us."""

    day: date
    epochs: int
    """Number of epochs that were seen; the others are missing in the sum."""
    validator_trust: float
    """Mean."""
    least_trust: float
    dividends: float
    """Mean of our parts of the validators' rewards."""
    emission: float
    """Sum, in tokens of the subnet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedRow:
    """Missing sets of one archive."""

    source: str
    sets: int
    retry_at: datetime | None
    last_error: str
    failures: int
    """Largest number of failed attempts at one set; 0: the data are only not published yet."""
    missed_since: datetime | None
    """First attempt at the set that is missing for the longest time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceCounts:
    """Numbers of reference sets."""

    ready: int
    awaited: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRow:
    """The lease of the database, as its server sees it."""

    holder: str
    """Identity of the validator that took it last; see `lease.Holder`; "": nobody has taken it yet."""
    name: str
    """Machine and folder of that validator."""
    taken_at: datetime
    seconds_left: float
    """Seconds until another validator may take it; 0 or less: nobody holds it."""

    @property
    def is_held(self) -> bool:
        """Whether it has not expired."""
        return self.seconds_left > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedRow:
    """A session that waits for a lock."""

    pid: int
    blocked_by: int
    """Session that holds the lock, and that an operator may end."""
    waited_s: float
