"""Settings of the data sources: where GFS, ERA5 and the climatology come from."""

from __future__ import annotations

from typing import ClassVar

from pydantic import SecretStr

from gaia.validator.utils.setting_sources import HandedSettings, setting


class SourcesSettings(HandedSettings):
    """Settings for downloading weather data, and for their publication times."""

    heading: ClassVar[str] = "Sources"

    gfs_url: str = setting(
        "https://noaa-gfs-bdp-pds.s3.amazonaws.com",
        "Address of the NOAA bucket with GFS files (GRIB2) and their indexes (.idx).",
        pattern=r"^https?://",
    )
    cds_url: str = setting(
        "https://cds.climate.copernicus.eu/api",
        "Address of the Climate Data Store (CDS), which provides ERA5.",
        "CDSAPI_URL",
        pattern=r"^https?://",
    )
    cds_key: SecretStr = setting(
        SecretStr(""),
        "API key of your CDS account. If empty, no lead is scored against ERA5.",
        "CDSAPI_KEY",
    )
    climatology_url: str = setting(
        "https://storage.googleapis.com/weatherbench2/datasets/era5-hourly-climatology/1990-2019_6h_1440x721.zarr",
        "Address of the Zarr store with the climatology for each day of the year and hour.",
        pattern=r"^https?://",
    )
    source_timeout_s: float = setting(120.0, "Seconds that one request to a data source may take.", gt=0)
    source_retry_minutes: float = setting(
        15.0,
        "Minutes to wait after a data source failed. The wait doubles with each further failure, up to hours.",
        gt=0,
    )
    era5_delay_days: float = setting(
        5.0,
        "Days from the time of a weather state until ERA5 is expected to contain it.",
        "WEATHER_ERA5_DELAY_DAYS",
        ge=0,
    )
    era5_buffer_hours: float = setting(
        6.0, "Hours added to GAIA_ERA5_DELAY_DAYS.", "WEATHER_ERA5_BUFFER_HOURS", ge=0
    )
    era5_poll_minutes: float = setting(
        60.0,
        "Minutes between two checks for ERA5 data that is late.",
        "WEATHER_ERA5_POLL_INTERVAL_MINUTES",
        gt=0,
    )
