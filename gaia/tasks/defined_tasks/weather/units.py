"""The units of work of the weather task: what each handler is given, and what it answers.

The IO side builds a unit; `UnitClient.run_unit` sends it and reads the answer. The compute side
(`validator/handlers.py`) turns the payload back into the unit, and the handler's answer into plain values.
Nothing here loads numpy, so both sides import it.

The names of fields are those of the wire and of the journal (table `lead_inputs`): `gaia replay` reads
payloads that earlier releases stored. A field that equals its default is not written.
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
    """A unit whose handler answers with an `A_co`."""

    @property
    def handler(self) -> str: ...

    @property
    def answer(self) -> type[A_co]: ...


class Unit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all units: paths and plain values, never arrays or open files."""

    handler: ClassVar[str]
    """Name under which the compute side knows the unit."""
    answer: ClassVar[Any]
    """Type of what the handler answers."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what handlers answer."""


class FieldFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field on disk: little-endian float32, (lat, lon) in C order, 90..-90 and 0..360-d, in our unit."""

    path: str
    sha256: str
    expver: str = ""
    """Of ERA5: "0001" or, while preliminary, "0005"."""


class StoredFields(Answer, frozen=True, kw_only=True):
    """The fields that a decoding unit wrote."""

    fields: dict[str, FieldFile]
    """By name of the field."""
    digest: str
    """SHA-256 (hex) of all values."""


class DecodeGfs(Unit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decode the GRIB2 messages of one GFS forecast to one file a field."""

    handler: ClassVar[str] = "weather.hash.gfs_compute"
    answer: ClassVar[type[StoredFields]] = StoredFields

    grid: str
    fields: list[str]
    out_dir: str
    climatology: dict[str, str] = msgspec.field(default_factory=dict)
    """Field -> path of its climatology at the valid time, as far as it is at hand; a field is held against it."""
    source_path: str
    init_time: str
    """ISO 8601."""
    lead_hours: int


class DecodeVerification(Unit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decode ERA5 or the climatology to one file a field."""

    handler: ClassVar[str] = "weather.hash.verification_compute"
    answer: ClassVar[type[StoredFields]] = StoredFields

    grid: str
    fields: list[str]
    out_dir: str
    climatology: dict[str, str] = msgspec.field(default_factory=dict)
    """As `DecodeGfs.climatology`; of ERA5 alone."""
    kind: Literal["era5", "climatology"]
    valid_time: str
    """ISO 8601."""
    source_path: str = ""
    """GRIB file of ERA5."""
    store_dir: str = ""
    """Mirrored zarr v2 store of the climatology."""


class ForecastUnit(Unit, frozen=True, kw_only=True):
    """Base of units about forecasts: the shape that every forecast of a run has."""

    grid: str
    steps: int
    step_hours: int


class SpooledUnit(ForecastUnit, frozen=True, kw_only=True):
    """Base of units about files of one forecast in the spool."""

    store_dir: str
    digests: dict[str, str]
    """Path in the store -> sha256 (hex) from the frozen manifest."""


class Verified(Answer, frozen=True, kw_only=True):
    """All files of a `VerifyForecast` are as promised."""

    verified: int
    """Number of files."""
    bytes: int
    """Their total size."""


class VerifyForecast(SpooledUnit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hash each file in `digests`, no others, and check metadata and chunk headers."""

    handler: ClassVar[str] = "weather.hash.forecast_verify"
    answer: ClassVar[type[Verified]] = Verified


class FieldDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What one field of a forecast holds."""

    finite_fraction: float
    minimum: float | None
    """Of the finite values, in the field's unit, as `maximum` and `mean`; None: there are none."""
    maximum: float | None
    mean: float | None
    """Unweighted."""
    plausible: bool
    """All values can be weather."""
    problem: str | None = None
    """Why the field could not be read."""


class Description(Answer, frozen=True, kw_only=True):
    """What a forecast holds, by field."""

    fields: dict[str, FieldDescription]


class DescribeForecast(SpooledUnit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Say what one lead of a forecast holds."""

    handler: ClassVar[str] = "weather.score.forecast_verification"
    answer: ClassVar[type[Description]] = Description

    lead_hours: int
    fields: list[str]


class LeadUnit(ForecastUnit, frozen=True, kw_only=True):
    """Base of units that score one lead of a run: our own fields that forecasts are compared with.

    Each role (truth, climatology, baseline, persistence) is field -> path of a file as `FieldFile` says.
    An unknown field is ignored: the journal may hold more than this release knows.
    """

    lead_hours: int
    fields: list[str]
    measures: Measures = msgspec.field(default_factory=lambda: "gaia-2.9")
    """A factory, so that the value is always written: a default may differ in a later release."""
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
    """Where the sketch of its errors goes; "": none is wanted."""


class LeadScored(Answer, frozen=True, kw_only=True):
    """The measures of one forecast at one lead."""

    components: list[Component]
    field_digests: dict[str, str]
    """Field -> sha256 (hex) of its chunk, as promised and as found before it was decoded."""


class ScoreLead(LeadUnit, frozen=True, kw_only=True):
    """Base of units that score one lead of one forecast; fields as in `Spooled`."""

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
    """Why one forecast of a batch could not be scored."""

    error_type: str
    message: str


class BatchMember(Answer, frozen=True, kw_only=True):
    """What one forecast of a batch comes to: a `LeadScored`, or `failure` alone."""

    components: list[Component] = msgspec.field(default_factory=list)
    field_digests: dict[str, str] = msgspec.field(default_factory=dict)
    failure: LeadFailure | None = None


class ScoreBatch(LeadUnit, frozen=True, kw_only=True):
    """Measure one lead of many forecasts of one run."""

    handler: ClassVar[str] = "weather.score.batch"
    answer: ClassVar[type[dict[Hotkey, BatchMember]]] = dict[Hotkey, BatchMember]

    kind: LeadKind
    forecasts: dict[Hotkey, Spooled]


class ProductsMade(Answer, frozen=True, kw_only=True):
    """The file of products that a `MakeProducts` wrote."""

    sha256: str
    hotkeys: list[Hotkey]
    """The forecasts they are of, in order."""
    absent: list[Hotkey] = msgspec.field(default_factory=list)
    """Hotkeys whose sketch is not there or not whole."""


class MakeProducts(Unit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Multiply the errors of all forecasts of a lead with each other."""

    handler: ClassVar[str] = "weather.copies.products"
    answer: ClassVar[type[ProductsMade]] = ProductsMade

    folder: str
    """Where the sketches are."""
    hotkeys: list[Hotkey]
    fields: int
    """How many a sketch holds."""
    out_dir: str


class KeptProducts(msgspec.Struct, frozen=True, kw_only=True):
    """The products of one lead, and the place of each hotkey in them."""

    path: str
    sha256: str
    size: int
    """Forecasts they were made of."""
    places: list[int | None]
    """Place of each of `FindOverlaps.hotkeys`; None: it has none that counts."""


class Overlaps(msgspec.Struct, frozen=True, kw_only=True):
    """Which two forecasts are how much the same work."""

    pairs: list[tuple[str, str, float]]
    """Each two hotkeys whose overlap, in (0, 1], is not 0."""
    missing: list[str]
    """Digests of products that are gone or damaged; they were left out."""


class FindOverlaps(Unit, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Add the products of the window up, and find the overlap of each two of `hotkeys`."""

    handler: ClassVar[str] = "weather.copies.overlaps"
    answer: ClassVar[type[Overlaps]] = Overlaps

    hotkeys: list[Hotkey]
    products: list[KeptProducts]


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
        MakeProducts,
        FindOverlaps,
    )
}
"""Name of a handler -> the unit it takes; the names of handlers stand in no other place."""
SCORES_ONE: Final[Mapping[LeadKind, type[ScoreDay1 | ScoreFinal]]] = {
    LeadKind.DAY1: ScoreDay1,
    LeadKind.FINAL: ScoreFinal,
}
"""Kind of a lead -> the unit that scores one forecast at it; its handler's name is what the journal holds."""


def score_one(kind: LeadKind, lead: LeadUnit, spooled: Spooled) -> ScoreDay1 | ScoreFinal:
    """Return the unit that scores one forecast at `lead`."""
    return SCORES_ONE[kind](**msgspec.structs.asdict(lead), **msgspec.structs.asdict(spooled))


def score_batch(kind: LeadKind, lead: LeadUnit, forecasts: Mapping[Hotkey, Spooled]) -> ScoreBatch:
    """Return the unit that scores several forecasts at `lead`."""
    return ScoreBatch(**msgspec.structs.asdict(lead), kind=kind, forecasts=dict(forecasts))
