"""Model of the pages: the dataclasses from which both the HTML and the JSON are made.

A final score and an open run's scores are different types. Means, ranks and lines take final scores only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from gaia.validator.core.status.facts import Due
from gaia.validator.db.states import ForecastState, RunState, VectorState
from gaia.validator.utils.identities import Hotkey, RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalScore:
    """The overall score of a forecast whose run is completed."""

    kind: Literal["final"] = "final"
    """Always `final`."""
    run_id: RunId
    init_time: datetime
    rule_set: str
    overall: float
    """It never changes again."""
    day1: float | None
    is_counted: bool
    """Whether it counts in means; false for an excused forecast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenScore:
    """What is known of a forecast whose run is open; it has no overall score, because leads are missing."""

    kind: Literal["open"] = "open"
    """Always `open`."""
    run_id: RunId
    day1: float | None
    leads_scored: int
    """Number of ERA5 leads that are scored."""
    leads_wanted: int | None
    """Number of ERA5 leads of the run; null if not known yet."""


class LeadShown(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Score of one lead, which is final as soon as it exists."""

    kind: str
    """`day1` (against the GFS analysis) or `final` (against ERA5)."""
    lead_hours: int
    score: float | None
    """Null if the lead was given up for all miners."""
    reason: str
    """Reason why nothing was scored; empty if it was."""


class FieldShown(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Measures of one field at one lead; null where they are undefined."""

    kind: str
    lead_hours: int
    field: str
    rmse: float
    bias: float
    acc: float | None
    skill_climatology: float | None
    skill_gfs: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one miner's forecast in one run."""

    run_id: RunId
    hotkey: Hotkey
    uid: int
    """Uid at the time of the run."""
    state: ForecastState
    reason: str
    """Reason of a rejection or an excuse, without addresses; empty if there is none."""
    committed_at: datetime | None
    """Time at which the manifest was frozen."""
    score: FinalScore | OpenScore | None
    """Null if nothing is scored."""
    leads: Sequence[LeadShown]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A miner's mean over the window that ends with a completed run."""

    run_id: RunId
    init_time: datetime
    mean: float
    half_width: float | None
    """Half width of the 95 % interval of the mean; null for a single run."""
    runs: int
    """Number of completed runs in the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One miner's place on the leaderboard."""

    rank: int
    hotkey: Hotkey
    uid: int
    standings: Sequence[Standing]
    """Oldest first; the last one decides the rank."""
    weight: float | None
    """Weight in the newest vector on chain; null if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorShown:
    """One weight vector."""

    epoch: int
    state: VectorState
    rule_set: str
    intended_at: datetime
    settled_at: datetime | None
    block: int | None
    extrinsic: str | None
    run_ids: Sequence[RunId]
    """Runs from which it was computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightShown:
    """One miner's weight in one vector."""

    epoch: int
    state: VectorState
    weight: float
    """Before quantisation; 0 if the vector does not name the miner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureShown:
    """One picture of a miner's scores."""

    file: str
    """Path from the folder of the site."""
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerPage:
    """One miner."""

    hotkey: Hotkey
    uid: int
    """Uid in its newest run."""
    rank: int | None
    """Place on the leaderboard; null without a final score."""
    standing: Standing | None
    outcomes: Sequence[Outcome]
    """Newest run first."""
    weights: Sequence[WeightShown]
    """Newest vector first."""
    fields_run: RunId | None
    """Run of `fields`."""
    fields: Sequence[FieldShown]
    pictures: Sequence[PictureShown]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """One run."""

    run_id: RunId
    init_time: datetime
    rule_set: str
    state: RunState
    opened_at: datetime
    completed_at: datetime | None
    leads_wanted: Sequence[int]
    """ERA5 leads of the run in hours; empty until they are stored."""
    states: Mapping[str, int]
    """State -> number of forecasts."""
    outcomes: Sequence[Outcome]
    """Final scores first, the best first; then by uid."""

    @property
    def is_open(self) -> bool:
        """Whether scores are still missing."""
        return self.state is RunState.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Miners by their mean over completed runs."""

    rule_set: str
    """Rules of the scores that are compared; those of the newest run."""
    window_days: float
    """Age limit of the runs in a mean, as for weights."""
    open_runs: Sequence[RunId]
    """Runs that are left out because they are not completed."""
    miners: Sequence[Ranked]


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """Truth that one archive has not published or delivered yet."""

    source: str
    sets: int
    retry_at: datetime | None
    """Time of the next attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TroubleShown:
    """One thing that is wrong, for the operator."""

    health: str
    name: str
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentShown:
    """An outside party that fails, for the operator."""

    party: str
    began_at: datetime
    last_at: datetime
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseNote:
    """The lease of the database, which one validator holds at a time, for the operator."""

    holder: str
    """Machine and folder of the validator that took it last."""
    since: datetime
    """Time at which that one took it, by the database's clock."""
    is_held: bool
    """Whether it has not expired."""
    is_ours: bool
    """Whether the validator of this page holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorNotes:
    """What only the operator sees: it may hold addresses and paths."""

    troubles: Sequence[TroubleShown]
    incidents: Sequence[IncidentShown]
    database_error: str
    """Reason why the newest reading failed; empty if it did not."""
    next_trust: float | None
    """The validator's trust in the next epoch, with the newest vector; null if it was not read yet."""
    permit_margin: float | None
    """Tokens of stake that the validator can lose before another takes its permit; null if it was not read yet."""
    lease: LeaseNote | None
    """The lease of the database; null if nobody has taken it yet or the database could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The first page."""

    now: datetime
    """Time on the validator's clock when the data were read."""
    is_simulated: bool
    """Whether that clock is simulated, as in a rehearsal."""
    version: str
    rule_set: str
    """Rules of the scores and weights."""
    netuid: int | None
    """Subnet; null if no chain was read yet."""
    validator_trust: float | None
    """The validator's trust (vtrust) in the last epoch of the chain; null if it was not read yet."""
    dividends: float | None
    """Its part of the validators' rewards in the last epoch; null if it was not read yet."""
    health: str
    """`well`, `degraded` or `stuck`."""
    stands_by: bool
    """Whether this validator stands by while another one holds the lease of the database."""
    trouble_names: Sequence[str]
    """Names of the alerts about what is wrong, without details."""
    is_database_read: bool
    """Whether the database answered; otherwise what is awaited and due is unknown, and the rest is of the last reading."""
    open_runs: Sequence[RunId]
    """Runs in progress, newest first."""
    states: Mapping[str, int]
    """State -> number of forecasts in open runs."""
    awaited: Sequence[Awaited]
    due: Sequence[Due]
    """What happens next, earliest first."""
    weights_set: VectorShown | None
    """The newest vector on chain."""
    vectors: Sequence[VectorShown]
    """The newest vectors, newest first."""
    runs: Sequence[RunId]
    """Runs that have a page, newest first."""
    earlier_runs: int
    """Number of older runs, which have no page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """All pages."""

    front: Front
    leaderboard: Leaderboard
    miners: Sequence[MinerPage]
    """By uid."""
    runs: Sequence[RunPage]
    """Newest first."""
    operator: OperatorNotes | None
    """Null on pages for the public."""
