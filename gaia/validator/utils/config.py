"""Every setting: its name, meaning, limits and default."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

SURFACE_FIELDS = ("2t", "10u", "10v", "msl")
LEVELS_HPA = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
ALL_FIELDS = SURFACE_FIELDS + tuple(
    f"{name}{level}" for name in ("t", "u", "v", "q", "z") for level in LEVELS_HPA
)
LEADS_HOURS = tuple(range(24, 241, 24))


def _setting(name: str, default: Any, description: str, *aliases: str, **limits: Any) -> Any:
    """A field read from GAIA_<NAME>, or from the original validator's names."""
    choices = AliasChoices(f"GAIA_{name.upper()}", *aliases)
    return Field(default, validation_alias=choices, description=description, **limits)


class Settings(BaseSettings):
    """Read once at start from the environment and `.env`, then handed down."""

    model_config = SettingsConfigDict(
        env_prefix="GAIA_", frozen=True, extra="ignore", populate_by_name=True
    )

    # chain
    netuid: int = _setting("netuid", 57, "Subnet this validator serves.", "NETUID", ge=0, le=65535)
    chain_endpoint: str = _setting(
        "chain_endpoint",
        "wss://entrypoint-finney.opentensor.ai:443",
        "Websocket URL of the subtensor node.",
        "SUBTENSOR_ADDRESS",
        pattern=r"^wss?://",
    )
    chain_timeout_s: float = _setting(
        "chain_timeout_s", 60.0, "Longest wait for one answer of the chain.", gt=0
    )
    metagraph_interval_s: float = _setting(
        "metagraph_interval_s", 300.0, "Real seconds between two readings of the metagraph.", gt=0
    )
    wallet_name: str = _setting("wallet_name", "default", "Wallet that holds the hotkey.", "WALLET_NAME")
    wallet_hotkey: str = _setting(
        "wallet_hotkey", "default", "Name of the hotkey in the wallet.", "HOTKEY_NAME"
    )
    wallet_path: Path = _setting(
        "wallet_path", Path("~/.bittensor/wallets"), "Folder of wallets.", "WALLET_PATH"
    )
    dry_run: bool = _setting("dry_run", False, "Do everything but sign and submit weights.")

    # weights
    weights_interval_blocks: int = _setting(
        "weights_interval_blocks", 250, "Fewest blocks between two weight settings.", ge=1
    )
    weights_window_days: float = _setting(
        "weights_window_days", 15.0, "Runs this recent count towards weights.", gt=0
    )
    burn_enabled: bool = _setting(
        "burn_enabled", True, "Send a part of the weight to the burn hotkey.", "BURN_MINER_EMISSION"
    )
    burn_fraction: float = _setting(
        "burn_fraction", 0.75, "Part of the weight that is burnt.", "BURN_RATE", ge=0, le=1
    )
    burn_hotkey: str = _setting(
        "burn_hotkey", "", "Hotkey that burns; empty: the subnet owner's, read from chain.", "BURN_HOTKEY"
    )
    contrast_gamma: float = _setting(
        "contrast_gamma", 1.3, "Exponent applied when weights hardly differ.", "WEIGHT_CONTRAST_GAMMA", gt=0
    )
    rule_set: Literal["gaia-2.9"] = _setting("rule_set", "gaia-2.9", "Named scoring and weighting rules.")

    # database
    database_url: SecretStr = _setting(
        "database_url", SecretStr(""), "PostgreSQL URL; empty: GAIA_DATABASE_HOST, else the embedded server."
    )
    database_host: str = _setting(
        "database_host", "", "PostgreSQL host; empty: run the embedded server.", "DB_HOST"
    )
    database_port: int = _setting("database_port", 5432, "PostgreSQL port.", "DB_PORT", ge=1, le=65535)
    database_name: str = _setting("database_name", "validator_db", "Database name.", "DB_NAME")
    database_user: str = _setting("database_user", "postgres", "Database role.", "DB_USER")
    database_password: SecretStr = _setting(
        "database_password", SecretStr(""), "Password of the role.", "DB_PASSWORD"
    )
    database_timeout_s: float = _setting(
        "database_timeout_s", 20.0, "Longest wait for a connection or a statement.", gt=0
    )
    database_pool_size: int = _setting(
        "database_pool_size", 8, "Most database connections of the IO-Engine.", ge=2, le=64
    )

    # files
    data_dir: Path = _setting(
        "data_dir", Path("data"), "Folder for the embedded database, spool, fields, sockets and logs."
    )
    data_min_free_mib: int = _setting(
        "data_min_free_mib", 512, "Refuse to start with less free space in the data folder.", ge=1
    )

    # processes
    compute_workers: int = _setting(
        "compute_workers",
        0,
        "Processes in the compute pool; 0: one per core, less one.",
        "WEATHER_WORKER_COUNT",
        "NUM_COMPUTE_WORKERS",
        ge=0,
        le=64,
    )
    worker_start_method: Literal["forkserver", "spawn"] = _setting(
        "worker_start_method", "forkserver", "How compute workers are made."
    )
    worker_max_jobs: int = _setting(
        "worker_max_jobs", 1000, "A worker is replaced after so many units.", "MAX_JOBS_PER_WORKER", ge=1
    )
    worker_soft_limit_mib: int = _setting(
        "worker_soft_limit_mib", 1024, "A worker above this private memory is replaced between units.", ge=128
    )
    worker_hard_limit_mib: int = _setting(
        "worker_hard_limit_mib",
        2048,
        "A worker above this private memory is killed.",
        "WEATHER_WORKER_RSS_LIMIT_MB",
        ge=256,
    )
    unit_timeout_s: float = _setting(
        "unit_timeout_s", 300.0, "Longest time one unit may take.", "WORKER_QUEUE_TIMEOUT_S", gt=0
    )
    unit_crash_limit: int = _setting(
        "unit_crash_limit", 3, "A unit that killed so many workers is quarantined.", ge=1
    )
    drain_timeout_s: float = _setting(
        "drain_timeout_s", 25.0, "Longest time an orderly stop may take.", gt=0
    )
    supervisor_poll_s: float = _setting(
        "supervisor_poll_s",
        0.25,
        "Seconds between two looks at the children's memory.",
        "SUPERVISOR_CHECK_INTERVAL_S",
        gt=0,
    )

    # schedule
    run_hour_utc: int = _setting(
        "run_hour_utc", 18, "Hour at which the day's run opens.", "WEATHER_RUN_HOUR_UTC", ge=0, le=23
    )
    run_minute_utc: int = _setting(
        "run_minute_utc", 0, "Minute at which the day's run opens.", "WEATHER_RUN_MINUTE_UTC", ge=0, le=59
    )
    run_jitter_minutes: float = _setting(
        "run_jitter_minutes", 30.0, "A run opens up to so much later, by chance.", ge=0
    )
    run_look_back_hours: float = _setting(
        "run_look_back_hours", 6.0, "A run missed by more than this is not made up for.", ge=0
    )
    last_run: datetime | None = _setting(
        "last_run", None, "Open no run whose initial time is later; for rehearsals."
    )
    test_mode: bool = _setting(
        "test_mode",
        False,
        "Hindcast: runs every half hour for a day long past, as --test does.",
        "WEATHER_TASK_TEST_MODE",
    )
    hindcast_days: int = _setting(
        "hindcast_days", 8, "How far back test mode sets the initial time.", ge=1
    )
    tick_interval_s: float = _setting(
        "tick_interval_s", 5.0, "Real seconds between two looks at what is due.", gt=0
    )
    clock_file: Path | None = _setting(
        "clock_file", None, "File of a simulated clock; unset: the real one. For rehearsals."
    )

    # forecast contract
    grid_degrees: Literal["0.25", "1.0"] = _setting("grid_degrees", "0.25", "Grid asked of miners.")
    forecast_steps: int = _setting(
        "forecast_steps", 40, "Lead times in a forecast.", "WEATHER_INFERENCE_STEPS", ge=1, le=400
    )
    forecast_step_hours: int = _setting(
        "forecast_step_hours", 6, "Hours between lead times.", "WEATHER_FORECAST_STEP_HOURS", ge=1, le=24
    )
    day1_lead_hours: list[int] = _setting(
        "day1_lead_hours", [12], "Leads scored against the GFS analysis.", "WEATHER_INITIAL_SCORING_LEAD_HOURS"
    )
    day1_fields: list[str] = _setting(
        "day1_fields", ["2t", "msl", "10u", "10v", "z500"], "Fields scored on day 1."
    )
    final_lead_hours: list[int] = _setting(
        "final_lead_hours", list(LEADS_HOURS), "Leads scored against ERA5.", "WEATHER_FINAL_SCORING_LEAD_HOURS"
    )
    final_fields: list[str] = _setting(
        "final_fields", list(ALL_FIELDS), "Fields scored against ERA5."
    )

    # miners
    miner_scheme: Literal["https", "http"] = _setting(
        "miner_scheme", "https", "How miners are spoken to; their certificates are self-signed."
    )
    miner_timeout_s: float = _setting(
        "miner_timeout_s", 30.0, "Longest time one request to a miner may take.", "HTTP_TIMEOUT_SECONDS", gt=0
    )
    miner_session_hours: float = _setting(
        "miner_session_hours", 2.0, "A symmetric key is used so long, then exchanged anew.", gt=0
    )
    miner_poll_minutes: float = _setting(
        "miner_poll_minutes", 5.0, "Minutes between two questions after a forecast.", gt=0
    )
    miner_query_retry_minutes: list[float] = _setting(
        "miner_query_retry_minutes", [1.0, 5.0, 15.0], "Delays before an unreachable miner is asked again."
    )
    freeze_window_hours: float = _setting(
        "freeze_window_hours",
        2.0,
        "A manifest must be frozen so soon after the miners were asked.",
        "WEATHER_MANIFEST_FREEZE_WINDOW_HOURS",
        gt=0,
    )
    manifest_max_mib: int = _setting("manifest_max_mib", 8, "Largest manifest accepted.", ge=1, le=64)
    chunk_max_mib: int = _setting("chunk_max_mib", 8, "Largest chunk accepted.", ge=1, le=64)
    miner_budget_mib: int = _setting(
        "miner_budget_mib", 4096, "Most bytes fetched from one miner for one run.", ge=1
    )
    miner_min_rate_kib_s: int = _setting(
        "miner_min_rate_kib_s", 64, "A download slower than this is given up.", ge=1
    )
    miner_concurrency: int = _setting(
        "miner_concurrency", 2, "Downloads at once from one miner.", ge=1, le=16
    )
    fetch_concurrency: int = _setting(
        "fetch_concurrency", 32, "Requests at once to all miners.", "HTTP_MAX_CONNECTIONS", ge=1, le=512
    )
    allow_private_miners: bool = _setting(
        "allow_private_miners", False, "Speak to miners on loopback or private addresses; for rehearsals."
    )
    only_uid: int | None = _setting(
        "only_uid", None, "Ask this miner alone.", "WEATHER_TEST_ONLY_UID", ge=0
    )

    # sources
    gfs_url: str = _setting(
        "gfs_url",
        "https://noaa-gfs-bdp-pds.s3.amazonaws.com",
        "NOAA bucket with GRIB2 files and .idx indexes.",
        pattern=r"^https?://",
    )
    cds_url: str = _setting(
        "cds_url", "https://cds.climate.copernicus.eu/api", "CDS API.", "CDSAPI_URL", pattern=r"^https?://"
    )
    cds_key: SecretStr = _setting("cds_key", SecretStr(""), "CDS API key.", "CDSAPI_KEY")
    climatology_url: str = _setting(
        "climatology_url",
        "https://storage.googleapis.com/weatherbench2/datasets/era5-hourly-climatology/1990-2019_6h_1440x721.zarr",
        "Climatology zarr by day of year and hour.",
        pattern=r"^https?://",
    )
    source_timeout_s: float = _setting(
        "source_timeout_s", 120.0, "Longest time one request to a data source may take.", gt=0
    )
    source_retry_minutes: float = _setting(
        "source_retry_minutes", 15.0, "Wait after a data source failed.", gt=0
    )
    era5_delay_days: float = _setting(
        "era5_delay_days", 5.0, "Days after which ERA5 is published.", "WEATHER_ERA5_DELAY_DAYS", ge=0
    )
    era5_buffer_hours: float = _setting(
        "era5_buffer_hours", 6.0, "Hours added to that delay.", "WEATHER_ERA5_BUFFER_HOURS", ge=0
    )
    era5_poll_minutes: float = _setting(
        "era5_poll_minutes", 60.0, "Minutes between two looks for late ERA5.", "WEATHER_ERA5_POLL_INTERVAL_MINUTES", gt=0
    )

    # observation
    metrics_host: str = _setting("metrics_host", "127.0.0.1", "Address the metrics are served on.")
    metrics_port: int = _setting(
        "metrics_port", 9090, "Port of the metrics; 0: not served.", ge=0, le=65535
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting(
        "log_level", "INFO", "Least level that is logged.", "LOGGING_LEVEL", "LOG_LEVEL"
    )
    log_format: Literal["json", "console"] = _setting("log_format", "json", "Shape of log lines.")
