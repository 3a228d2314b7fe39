"""Paths of GFS files at NOAA, by release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class GfsLayout:
    """Paths of the files of one release of GFS."""

    release: str
    path: str
    """Path in the bucket, with the placeholders {date}, {hour}, {product} and {lead}."""
    products: Mapping[str, str]
    """Grid in degrees -> its name in paths; grids that the release lacks are absent."""

    def path_of(self, grid: str, init_time: datetime, lead_hours: int) -> str | None:
        """Return the path of the file of a cycle and lead; None if the release has no such grid.

        Examples
        --------
        >>> V17.path_of("0.25", datetime(2026, 3, 25, 6, tzinfo=UTC), 12)
        'gfs.20260325/06/products/atmos/grib2/0p25/gfs.t06z.pres_a.0p25.f012.grib2'
        >>> V17.path_of("1.0", datetime(2026, 3, 25, 6, tzinfo=UTC), 12)
        """
        if (product := self.products.get(grid)) is None:
            return None
        moment = init_time.astimezone(UTC)
        return self.path.format(
            date=f"{moment:%Y%m%d}", hour=f"{moment:%H}", product=product, lead=f"{lead_hours:03d}"
        )


V16: Final = GfsLayout(
    release="v16",
    path="gfs.{date}/{hour}/atmos/gfs.t{hour}z.pgrb2.{product}.f{lead}",
    products={"0.25": "0p25", "1.0": "1p00"},
)
V17: Final = GfsLayout(
    release="v17",
    path="gfs.{date}/{hour}/products/atmos/grib2/{product}/gfs.t{hour}z.pres_a.{product}.f{lead}.grib2",
    products={"0.25": "0p25"},
)
GFS_LAYOUTS: Final = (V16, V17)
"""Known layouts, in the order of trial."""
