"""The units of work of the weather task: the payload and the answer of each handler.

The IO side builds a unit; `UnitClient.run_unit` sends it and decodes the answer. The compute side
(`validator/handlers.py`) decodes the payload and encodes the answer. Both sides import this module,
so it must not load numpy.

Field names are those on the wire and in the journal (table `lead_inputs`), because `gaia replay` reads
payloads of earlier releases. A field that equals its default is not written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Protocol, TypeVar

import msgspec

from gaia.tasks.defined_tasks.weather.lead_kinds import LeadKind
from gaia.tasks.defined_tasks.weather.rules.base import Component, Measures
from gaia.validator.utils.identities import Hotkey

A_co = TypeVar("A_co", covariant=True)


class UnitOf(Protocol[A_co]):
    """A unit whose handler returns an `A_co`."""

    @property
    def handler(self) -> str: ...

    @property
    def answer(self) -> type[A_co]: ...


class Unit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all units: paths and plain values, never arrays or open files."""

    handler: ClassVar[str]
    """Name of the handler on the compute side."""
    answer: ClassVar[Any]
    """Type of the handler's answer."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the handlers' answers."""


class FieldFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field on disk: little-endian float32 (lat 90..-90, lon 0..360-d) in C order, in our unit."""

    path: str
    sha256: str
    expver: str = ""
    """Version of ERA5: "0001" or, while preliminary, "0005"."""


class StoredFields(Answer, frozen=True, kw_only=True):
    """The fields that a decoding unit wrote."""

    fields: dict[str, FieldFile]
    """Field name -> its file."""
    digest: str
    """SHA-256 (hex) of all values."""


class DecodeGfs(Unit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decode the GRIB2 messages of one GFS forecast to one file per field."""

    handler: ClassVar[str] = "weather.hash.gfs_compute"
    answer: ClassVar[type[StoredFields]] = StoredFields

    grid: str
    fields: list[str]
    out_dir: str
    climatology: dict[str, str] = msgspec.field(default_factory=dict)
    """Field -> path of its climatology at the valid time, if available; used to check the field."""
    source_path: str
    init_time: str
    """ISO 8601."""
    lead_hours: int


class DecodeVerification(Unit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decode ERA5 or the climatology to one file per field."""

    handler: ClassVar[str] = "weather.hash.verification_compute"
    answer: ClassVar[type[StoredFields]] = StoredFields

    grid: str
    fields: list[str]
    out_dir: str
    climatology: dict[str, str] = msgspec.field(default_factory=dict)
    """As `DecodeGfs.climatology`; only for ERA5."""
    kind: Literal["era5", "climatology"]
    valid_time: str
    """ISO 8601."""
    source_path: str = ""
    """GRIB file of ERA5."""
    store_dir: str = ""
    """Mirrored zarr v2 store of the climatology."""


class ForecastUnit(Unit, frozen=True, kw_only=True):
    """Base of units about forecasts: the shape that all forecasts of a run share."""

    grid: str
    steps: int
    step_hours: int


class SpooledUnit(ForecastUnit, frozen=True, kw_only=True):
    """Base of units about files of one forecast in the spool."""

    store_dir: str
    digests: dict[str, str]
    """Path in the store -> sha256 (hex) from the frozen manifest."""


class Verified(Answer, frozen=True, kw_only=True):
    """Answer to `VerifyForecast`: all files match their digests."""

    verified: int
    """Number of files."""
    bytes: int
    """Total size in bytes."""


class VerifyForecast(SpooledUnit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hash each file in `digests`, and check metadata and chunk headers."""

    handler: ClassVar[str] = "weather.hash.forecast_verify"
    answer: ClassVar[type[Verified]] = Verified


class FieldDescription(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of one field of a forecast."""

    finite_fraction: float
    minimum: float | None
    """Smallest finite value, in the field's unit; None if no value is finite, as for `maximum` and `mean`."""
    maximum: float | None
    mean: float | None
    """Unweighted mean of the finite values."""
    plausible: bool
    """Whether all values are within the limits of weather."""
    problem: str | None = None
    """Why the field could not be read."""


class Description(Answer, frozen=True, kw_only=True):
    """Answer to `DescribeForecast`: statistics by field."""

    fields: dict[str, FieldDescription]


class DescribeForecast(SpooledUnit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Compute statistics of one lead of a forecast."""

    handler: ClassVar[str] = "weather.score.forecast_verification"
    answer: ClassVar[type[Description]] = Description

    lead_hours: int
    fields: list[str]


class LeadUnit(ForecastUnit, frozen=True, kw_only=True):
    """Base of units that score one lead of a run: the reference fields.

    Each role (truth, climatology, baseline, persistence) is field -> path of a `FieldFile`. An
    unknown member is ignored, because a journal may hold more than this release knows.
    """

    lead_hours: int
    fields: list[str]
    measures: Measures = msgspec.field(default_factory=lambda: "gaia-2.9")
    """A factory makes sure that the value is always written, because the default may change."""
    truth: dict[str, str]
    climatology: dict[str, str]
    baseline: dict[str, str] = msgspec.field(default_factory=dict)
    """The GFS forecast for the same valid time; day 1 needs it."""
    persistence: dict[str, str] = msgspec.field(default_factory=dict)
    """The analysis at the initial time."""


class Spooled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One forecast in the spool."""

    store_dir: str
    digests: dict[str, str]
    """Path in the store -> sha256 (hex) from the frozen manifest."""
    sketch: str = ""
    """Path for the sketch of its errors; "" if no sketch is made."""


class LeadScored(Answer, frozen=True, kw_only=True):
    """Answer of a scoring unit: the measures of one forecast at one lead."""

    components: list[Component]
    field_digests: dict[str, str]
    """Field -> sha256 (hex) of its chunk, as committed and as verified before decoding."""


class ScoreLead(LeadUnit, frozen=True, kw_only=True):
    """Base of units that score one lead of one forecast; members as in `Spooled`."""

    answer: ClassVar[type[LeadScored]] = LeadScored

    store_dir: str
    digests: dict[str, str]
    sketch: str = ""


class ScoreDay1(ScoreLead, frozen=True, kw_only=True):
    """Measure one lead against the GFS analysis, with the GFS forecast as baseline of each field."""

    handler: ClassVar[str] = "weather.score.day1"


class ScoreFinal(ScoreLead, frozen=True, kw_only=True):
    """Measure one lead against ERA5."""

    handler: ClassVar[str] = "weather.score.era5_final"


class LeadFailure(msgspec.Struct, frozen=True, kw_only=True):
    """The reason why one forecast of a batch could not be scored."""

    error_type: str
    message: str


class BatchMember(Answer, frozen=True, kw_only=True):
    """Result of one forecast of a batch: a `LeadScored`, or only `failure`."""

    components: list[Component] = msgspec.field(default_factory=list)
    field_digests: dict[str, str] = msgspec.field(default_factory=dict)
    failure: LeadFailure | None = None


class ScoreBatch(LeadUnit, frozen=True, kw_only=True):
    """Measure one lead of many forecasts of one run."""

    handler: ClassVar[str] = "weather.score.batch"
    answer: ClassVar[type[dict[Hotkey, BatchMember]]] = dict[Hotkey, BatchMember]

    kind: LeadKind
    forecasts: dict[Hotkey, Spooled]


class GramMatrixComputed(Answer, frozen=True, kw_only=True):
    """Answer to `ComputeGramMatrix`: the file that was written."""

    sha256: str
    hotkeys: list[Hotkey]
    """Forecasts in the matrix, in the order of its rows."""
    absent: list[Hotkey] = msgspec.field(default_factory=list)
    """Hotkeys whose sketch is missing or incomplete."""


class ComputeGramMatrix(Unit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Compute the Gram matrices of the errors of all forecasts at one lead."""

    handler: ClassVar[str] = "weather.copies.products"
    answer: ClassVar[type[GramMatrixComputed]] = GramMatrixComputed

    folder: str
    """Folder of the sketches."""
    hotkeys: list[Hotkey]
    fields: int
    """Number of fields in a sketch."""
    out_dir: str


class StoredGramMatrix(msgspec.Struct, frozen=True, kw_only=True):
    """The Gram matrix of one lead, and the row of each hotkey."""

    path: str
    sha256: str
    size: int
    """Number of forecasts in the matrix."""
    places: list[int | None]
    """Row of each of `FindOverlaps.hotkeys`; None if its forecast does not count."""


class Overlaps(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to `FindOverlaps`."""

    pairs: list[tuple[str, str, float]]
    """Two hotkeys and their overlap in (0, 1]; pairs with an overlap of 0 are left out."""
    missing: list[str]
    """Digests of Gram matrices that are missing or damaged, and were left out."""


class FindOverlaps(Unit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Add up the Gram matrices of the window, and compute the pairwise overlaps of `hotkeys`."""

    handler: ClassVar[str] = "weather.copies.overlaps"
    answer: ClassVar[type[Overlaps]] = Overlaps

    hotkeys: list[Hotkey]
    products: list[StoredGramMatrix]


UNITS: Final[Mapping[str, type[Unit]]] = {
    unit.handler: unit
    for unit in (
        DecodeGfs,
        DecodeVerification,
        VerifyForecast,
        DescribeForecast,
        ScoreDay1,
        ScoreFinal,
        ScoreBatch,
        ComputeGramMatrix,
        FindOverlaps,
    )
}
"""Name of a handler -> its unit; no other place lists the names of handlers."""
SCORES_ONE: Final[Mapping[LeadKind, type[ScoreDay1 | ScoreFinal]]] = {
    LeadKind.DAY1: ScoreDay1,
    LeadKind.FINAL: ScoreFinal,
}
"""Kind of a lead -> the unit that scores one forecast; the journal holds its handler's name."""


def score_one(kind: LeadKind, lead: LeadUnit, spooled: Spooled) -> ScoreDay1 | ScoreFinal:
    """Return the unit that scores one forecast at `lead`."""
    return SCORES_ONE[kind](**msgspec.structs.asdict(lead), **msgspec.structs.asdict(spooled))


def score_batch(kind: LeadKind, lead: LeadUnit, forecasts: Mapping[Hotkey, Spooled]) -> ScoreBatch:
    """Return the unit that scores several forecasts at `lead`."""
    return ScoreBatch(**msgspec.structs.asdict(lead), kind=kind, forecasts=dict(forecasts))
