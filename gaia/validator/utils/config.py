"""Every setting: its name, meaning, limits and default."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.setting_sources import HandedSettings, Variables, at_home, read_env_file
from gaia.validator.utils.setting_sources import setting as _setting

PREFIX = "GAIA_"
SURFACE_FIELDS = ("2t", "10u", "10v", "msl")
LEVELS_HPA = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
ALL_FIELDS = SURFACE_FIELDS + tuple(
    f"{name}{level}" for name in ("t", "u", "v", "q", "z") for level in LEVELS_HPA
)
LEADS_HOURS = tuple(range(24, 241, 24))
RETIRED = frozenset(
    f"GAIA_{name}"
    for name in ("ASYNC_THRESHOLD", "DISABLE_ASYNC", "SCORING_LRU_MAXSIZE", "SCORING_AGGRESSIVE_LRU_MAXSIZE")
)
"""Names the original read that have no counterpart here; they are ignored, not refused."""


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Settings(HandedSettings):
    """Read once at start by `load_settings`, then handed down.

    Each is read from GAIA_<NAME>, or else from the names given last, which are the original validator's.
    """

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    # chain
    netuid: int = _setting(57, "Subnet this validator serves.", "NETUID", ge=0, le=65535)
    chain_endpoint: str = _setting(
        "wss://entrypoint-finney.opentensor.ai:443",
        "Websocket URL of the subtensor node.",
        "SUBTENSOR_ADDRESS",
        pattern=r"^wss?://",
    )
    chain_timeout_s: float = _setting(60.0, "Longest wait for one answer of the chain.", gt=0)
    metagraph_interval_s: float = _setting(300.0, "Real seconds between two readings of the metagraph.", gt=0)
    wallet_name: str = _setting("default", "Wallet that holds the hotkey.", "WALLET_NAME")
    wallet_hotkey: str = _setting("default", "Name of the hotkey in the wallet.", "HOTKEY_NAME")
    wallet_path: Path = _setting(Path("~/.bittensor/wallets"), "Folder of wallets.", "WALLET_PATH")
    dry_run: bool = _setting(False, "Do everything but sign and submit weights.")

    # weights
    weights_interval_blocks: int = _setting(250, "Fewest blocks between two weight settings.", ge=1)
    weights_window_days: float = _setting(15.0, "Runs this recent count towards weights.", gt=0)
    burn_enabled: bool = _setting(
        True, "Send a part of the weight to the burn hotkey.", "BURN_MINER_EMISSION"
    )
    burn_fraction: float = _setting(0.75, "Part of the weight that is burnt.", "BURN_RATE", ge=0, le=1)
    burn_hotkey: str = _setting(
        "", "Hotkey that burns; empty: the subnet owner's, read from chain.", "BURN_HOTKEY"
    )
    contrast_gamma: float = _setting(
        1.3, "Exponent applied when weights hardly differ.", "WEIGHT_CONTRAST_GAMMA", gt=0
    )
    rule_set: Literal["gaia-2.9", "gaia-next"] = _setting("gaia-2.9", "Named scoring and weighting rules.")
    shadow_rule_set: Literal["", "gaia-2.9", "gaia-next"] = _setting(
        "", "Rules that score beside the active ones, without a say in weights; empty: none."
    )
    shadow_share: float = _setting(1.0, "Part of the runs that the shadow rules score too.", ge=0, le=1)

    # database
    database_url: SecretStr = _setting(
        SecretStr(""), "PostgreSQL URL; empty: GAIA_DATABASE_HOST, else the embedded server."
    )
    database_host: str = _setting("", "PostgreSQL host; empty: run the embedded server.", "DB_HOST")
    database_port: int = _setting(5432, "PostgreSQL port.", "DB_PORT", ge=1, le=65535)
    database_name: str = _setting("validator_db", "Database name.", "DB_NAME")
    database_user: str = _setting("postgres", "Database role.", "DB_USER")
    database_password: SecretStr = _setting(SecretStr(""), "Password of the role.", "DB_PASSWORD")
    database_timeout_s: float = _setting(20.0, "Longest wait for a connection or a statement.", gt=0)
    database_pool_size: int = _setting(8, "Most database connections of the IO-Engine.", ge=2, le=64)

    # files
    data_dir: Annotated[Path, AfterValidator(at_home)] = _setting(
        Path("data"), "Folder for the embedded database, spool, fields, sockets and logs."
    )
    data_min_free_mib: int = _setting(512, "Refuse to start with less free space in the data folder.", ge=1)
    keep_inputs_days: float = _setting(
        0.0, "Scored chunks and reference fields stay so long, for replay; 0: chunks go once scored.", ge=0
    )

    # processes
    compute_workers: int = _setting(
        0,
        "Processes in the compute pool; 0: one per core, less one.",
        "WEATHER_WORKER_COUNT",
        "NUM_COMPUTE_WORKERS",
        ge=0,
        le=64,
    )
    compute_backend: Literal["local", "dask"] = _setting("local", "Where units run: here, or on a cluster.")
    dask_scheduler: str = _setting("", "Address of the Dask scheduler, such as tcp://host:8786.")
    dask_resource: str = _setting("", "Only Dask workers that offer this resource are used; empty: all.")
    worker_start_method: Literal["forkserver", "spawn"] = _setting(
        "forkserver", "How compute workers are made."
    )
    worker_max_jobs: int = _setting(
        1000, "A worker is replaced after so many units.", "MAX_JOBS_PER_WORKER", ge=1
    )
    worker_soft_limit_mib: int = _setting(
        1024, "A worker above this private memory is replaced between units.", ge=128
    )
    worker_hard_limit_mib: int = _setting(
        2048, "A worker above this private memory is killed.", "WEATHER_WORKER_RSS_LIMIT_MB", ge=256
    )
    worker_idle_s: float = _setting(
        600.0, "A worker that had no unit for so long is replaced; 0: never.", ge=0
    )
    worker_max_age_s: float = _setting(86_400.0, "A worker that is older is replaced.", gt=0)
    pool_queue_limit: int = _setting(10_000, "Units that may wait; whoever has more waits as well.", ge=1)
    canary_interval_s: float = _setting(10.0, "An idle worker proves this often that it works.", gt=0)
    engine_silence_s: float = _setting(30.0, "An IO-Engine hung for so long is killed; a signer later.", gt=0)
    unit_timeout_s: float = _setting(300.0, "Longest time one unit may take.", "WORKER_QUEUE_TIMEOUT_S", gt=0)
    unit_crash_limit: int = _setting(3, "A unit that killed so many workers is quarantined.", ge=1)
    sandbox: Literal["required", "best-effort", "off"] = _setting(
        "required",
        "Lock compute workers in: refuse to start where the kernel cannot, take what it offers, or do not.",
    )
    batch_miners: int = _setting(16, "Forecasts that are scored in one unit.", ge=1, le=256)
    drain_timeout_s: float = _setting(25.0, "Longest time an orderly stop may take.", gt=0)
    supervisor_poll_s: float = _setting(
        0.25, "Seconds between two looks at the children's memory.", "SUPERVISOR_CHECK_INTERVAL_S", gt=0
    )

    # schedule
    run_hour_utc: int = _setting(
        18, "Hour at which the day's run opens.", "WEATHER_RUN_HOUR_UTC", ge=0, le=23
    )
    run_minute_utc: int = _setting(
        0, "Minute at which the day's run opens.", "WEATHER_RUN_MINUTE_UTC", ge=0, le=59
    )
    run_jitter_minutes: float = _setting(30.0, "A run opens up to so much later, by chance.", ge=0)
    run_look_back_hours: float = _setting(6.0, "A run missed by more than this is not made up for.", ge=0)
    last_run: Annotated[datetime, AfterValidator(_in_utc)] | None = _setting(
        None, "Open no run whose initial time is later; for rehearsals."
    )
    test_mode: bool = _setting(
        False, "Hindcast: runs every half hour for a day long past, as --test does.", "WEATHER_TASK_TEST_MODE"
    )
    hindcast_days: int = _setting(8, "How far back test mode sets the initial time.", ge=1)
    tick_interval_s: float = _setting(5.0, "Real seconds between two looks at what is due.", gt=0)
    clock_file: Path | None = _setting(
        None, "File of a simulated clock; unset: the real one. For rehearsals."
    )

    # forecast contract
    grid_degrees: Literal["0.25", "1.0"] = _setting("0.25", "Grid asked of miners.")
    forecast_steps: int = _setting(40, "Lead times in a forecast.", "WEATHER_INFERENCE_STEPS", ge=1, le=400)
    forecast_step_hours: int = _setting(
        6, "Hours between lead times.", "WEATHER_FORECAST_STEP_HOURS", ge=1, le=24
    )
    day1_lead_hours: list[int] = _setting(
        [12], "Leads scored against the GFS analysis.", "WEATHER_INITIAL_SCORING_LEAD_HOURS"
    )
    day1_fields: list[str] = _setting(["2t", "msl", "10u", "10v", "z500"], "Fields scored on day 1.")
    final_lead_hours: list[int] = _setting(
        list(LEADS_HOURS), "Leads scored against ERA5.", "WEATHER_FINAL_SCORING_LEAD_HOURS"
    )
    final_fields: list[str] = _setting(list(ALL_FIELDS), "Fields scored against ERA5.")

    # miners
    miner_scheme: Literal["https", "http"] = _setting(
        "https", "How miners are spoken to; their certificates are self-signed."
    )
    miner_timeout_s: float = _setting(
        30.0, "Longest time one request to a miner may take.", "HTTP_TIMEOUT_SECONDS", gt=0
    )
    miner_session_hours: float = _setting(2.0, "A symmetric key is used so long, then exchanged anew.", gt=0)
    miner_poll_minutes: float = _setting(5.0, "Minutes between two questions after a forecast.", gt=0)
    miner_query_retry_minutes: list[float] = _setting(
        [1.0, 5.0, 15.0], "Delays before an unreachable miner is asked again."
    )
    freeze_window_hours: float = _setting(
        2.0,
        "A manifest must be frozen so soon after the miners were asked.",
        "WEATHER_MANIFEST_FREEZE_WINDOW_HOURS",
        gt=0,
    )
    manifest_max_mib: int = _setting(1, "Largest manifest accepted; more than 1 counts as 1.", ge=1, le=64)
    chunk_max_mib: int = _setting(
        8, "Largest chunk accepted; never more than a field of the grid takes.", ge=1, le=64
    )
    miner_budget_mib: int = _setting(4096, "Most bytes fetched from one miner for one run.", ge=1)
    miner_min_rate_kib_s: int = _setting(64, "A download slower than this is given up.", ge=1)
    miner_concurrency: int = _setting(2, "Downloads at once from one miner.", ge=1, le=16)
    fetch_concurrency: int = _setting(
        32, "Downloads at once from all miners.", "HTTP_MAX_CONNECTIONS", ge=1, le=512
    )
    question_concurrency: int = _setting(
        64, "Questions at once to all miners; downloads do not count.", ge=1, le=512
    )
    allow_private_miners: bool = _setting(
        False, "Speak to miners on loopback or private addresses; for rehearsals."
    )
    only_uid: int | None = _setting(None, "Ask this miner alone.", "WEATHER_TEST_ONLY_UID", ge=0)

    # sources
    gfs_url: str = _setting(
        "https://noaa-gfs-bdp-pds.s3.amazonaws.com",
        "NOAA bucket with GRIB2 files and .idx indexes.",
        pattern=r"^https?://",
    )
    cds_url: str = _setting(
        "https://cds.climate.copernicus.eu/api", "CDS API.", "CDSAPI_URL", pattern=r"^https?://"
    )
    cds_key: SecretStr = _setting(SecretStr(""), "CDS API key.", "CDSAPI_KEY")
    climatology_url: str = _setting(
        "https://storage.googleapis.com/weatherbench2/datasets/era5-hourly-climatology/1990-2019_6h_1440x721.zarr",
        "Climatology zarr by day of year and hour.",
        pattern=r"^https?://",
    )
    source_timeout_s: float = _setting(120.0, "Longest time one request to a data source may take.", gt=0)
    source_retry_minutes: float = _setting(15.0, "Wait after a data source failed.", gt=0)
    era5_delay_days: float = _setting(
        5.0, "Days after which ERA5 is published.", "WEATHER_ERA5_DELAY_DAYS", ge=0
    )
    era5_buffer_hours: float = _setting(6.0, "Hours added to that delay.", "WEATHER_ERA5_BUFFER_HOURS", ge=0)
    era5_poll_minutes: float = _setting(
        60.0, "Minutes between two looks for late ERA5.", "WEATHER_ERA5_POLL_INTERVAL_MINUTES", gt=0
    )

    # observation
    metrics_host: str = _setting("127.0.0.1", "Address the metrics are served on.")
    metrics_port: int = _setting(9090, "Port of the metrics; 0: not served.", ge=0, le=65535)
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)] = _setting(
        "INFO", "Least level that is logged.", "LOGGING_LEVEL", "LOG_LEVEL"
    )
    log_format: Literal["json", "console"] = _setting("json", "Shape of log lines.")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Refuse settings that are each allowed but not together."""
        if self.worker_hard_limit_mib < self.worker_soft_limit_mib:
            raise _rule(
                "worker_hard_limit_mib",
                f"{self.worker_hard_limit_mib} is below GAIA_WORKER_SOFT_LIMIT_MIB ({self.worker_soft_limit_mib})",
                "raise it to that or more",
            )
        if self.compute_backend == "dask" and "://" not in self.dask_scheduler:
            raise _rule("dask_scheduler", "is no address, which a cluster needs", "use tcp://host:8786")
        if self.compute_backend == "dask" and self.sandbox == "required":
            raise _rule(
                "sandbox", "is required, which workers of a cluster cannot give", "use off to do without"
            )
        url = self.database_url.get_secret_value()
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise _rule(
                "database_url", "is no PostgreSQL URL", "write postgresql://user:password@host:port/name"
            )
        for name in ("day1_fields", "final_fields"):
            _check_fields(name, getattr(self, name))
        for name in ("day1_lead_hours", "final_lead_hours"):
            _check_leads(name, getattr(self, name), self.forecast_step_hours, self.forecast_steps)
        if min(self.miner_query_retry_minutes, default=1.0) <= 0:
            raise _rule(
                "miner_query_retry_minutes", "holds a delay that is not above 0", "use minutes above 0"
            )
        return self


def load_settings(env_file: Path | None = Path(".env"), **overrides: Any) -> Settings:
    """Read the settings: the command line wins over the environment, that over `env_file`.

    An empty value counts as not set. Lists are written as `a,b` or as JSON.

    Parameters
    ----------
    env_file
        File of NAME=value lines; one that does not exist is as good as empty.
    overrides
        Values by field name, as given on the command line; None means not given.

    Raises
    ------
    ConfigurationError
        If a value is not allowed, or a name that begins with GAIA_ is no setting.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for place in reversed(_places(env_file)):
        values |= place()
        origins |= place.origins()
    origins |= dict.fromkeys(given, "command line")
    try:
        settings = Settings(**(values | given))
    except ValidationError as error:
        raise _explained(error, origins) from None
    settings._origins.update(origins)
    return settings


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """Return (environment name, value as text, origin) of every setting; secrets are shown as ***."""
    rows = []
    for name in Settings.model_fields:
        given = "command line" if name in settings.model_fields_set else "default"
        rows.append((variable_of(name), shown(getattr(settings, name)), settings._origins.get(name, given)))
    return rows


def shown(value: Any) -> str:
    """Return `value` as it would be written in `.env`; a secret that is set is ***."""
    match value:
        case None:
            return ""
        case SecretStr():
            return "***" if value.get_secret_value() else ""
        case bool():
            return str(value).lower()
        case list():
            return ",".join(str(item) for item in value)
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def variable_of(name: str) -> str:
    """Return the environment variable of the field `name`."""
    return PREFIX + name.upper()


def names_of(name: str) -> list[str]:
    """Return the variables the field `name` is read from: ours, then the original validator's."""
    return [variable_of(name), *_schemas()[name]["aliases"]]


def allowed(name: str) -> str:
    """Say in words what the field `name` may be, such as "a whole number from 0 to 65535"."""
    schema = _schemas()[name]
    choice = schema["anyOf"][0] if "anyOf" in schema else schema
    if "enum" in choice or "const" in choice:
        return " or ".join(each or "nothing" for each in choice.get("enum", [choice.get("const")]))
    if choice["type"] == "array":
        return f"{_PLURALS[choice['items']['type']]} separated by commas"
    kind = _KINDS.get(choice.get("format", choice["type"]), "text")
    if "pattern" in choice:
        starts = choice["pattern"].removeprefix("^").removesuffix("://")
        return f"an address that begins with {starts.replace('s?', '')}:// or {starts.replace('?', '')}://"
    return kind + _limits(choice)


_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "path": "a path",
    "date-time": "a time such as 2026-01-31T00:00Z",
}
_PLURALS = {"integer": "whole numbers", "number": "numbers", "string": "names"}


@cache
def _schemas() -> dict[str, dict[str, Any]]:
    schemas: dict[str, dict[str, Any]] = Settings.model_json_schema()["properties"]
    return schemas


def _limits(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}"
    if least is not None:
        return f" of at least {least:g}"
    if "exclusiveMinimum" in schema:
        return f" above {schema['exclusiveMinimum']:g}"
    return ""


def _rule(name: str, problem: str, remedy: str) -> PydanticCustomError:
    """A broken rule between settings, in the words the operator will read."""
    return PydanticCustomError(
        "rule", "{problem}; {remedy}", {"name": name, "problem": problem, "remedy": remedy}
    )


def _check_fields(name: str, fields: list[str]) -> None:
    unknown = [field for field in fields if field not in ALL_FIELDS]
    if unknown:
        close = difflib.get_close_matches(unknown[0], ALL_FIELDS, n=1)
        hint = f"did you mean {close[0]}?" if close else "the names are such as 2t, msl, z500"
        raise _rule(name, f'"{unknown[0]}" is no known field', f"correct it ({hint})")
    if not fields or len(set(fields)) < len(fields):
        raise _rule(name, "is empty or names a field twice", "name each field once")


def _check_leads(name: str, leads: list[int], step_hours: int, steps: int) -> None:
    offered = range(step_hours, step_hours * steps + 1, step_hours)
    strange = [lead for lead in leads if lead not in offered]
    if strange:
        problem = f"no forecast has a lead of {strange[0]} h"
        remedy = f"use multiples of {step_hours} up to {offered[-1]}, or change GAIA_FORECAST_STEPS"
        raise _rule(name, problem, remedy)
    if not leads or len(set(leads)) < len(leads):
        raise _rule(name, "is empty or names a lead twice", "name each lead once")


def _places(env_file: Path | None) -> list[Variables]:
    """Where variables are looked for, most important first; refuses names of ours that are no setting."""
    from_file = read_env_file(env_file)
    _refuse_unknown(os.environ, "the environment")
    _refuse_unknown(from_file, str(env_file))
    return [
        Variables(Settings, "environment", os.environ, names_of),
        Variables(Settings, str(env_file), from_file, names_of),
    ]


def _refuse_unknown(source: Mapping[str, str | None], where: str) -> None:
    known = {variable for name in Settings.model_fields for variable in names_of(name)}
    for variable in source:
        if not variable.upper().startswith(PREFIX) or variable in known | RETIRED:
            continue
        close = difflib.get_close_matches(variable.upper(), known, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigurationError(variable, f"is no setting, but {where} has it{hint}", "correct or remove it")


def _explained(error: ValidationError, origins: Mapping[str, str]) -> ConfigurationError:
    """Turn the first complaint into one sentence that names the variable."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "rule":
        context = first["ctx"]
        return ConfigurationError(variable_of(context["name"]), context["problem"], context["remedy"])
    name = str(first["loc"][0])
    if name not in Settings.model_fields:
        return ConfigurationError(variable_of(name), "is no setting", "remove it")
    origin = origins.get(name, "")
    variable = origin.split()[-1] if " " in origin and origin != "command line" else variable_of(name)
    secret = Settings.model_fields[name].annotation is SecretStr
    value = "this value" if secret else f'"{shown(first["input"])[:80]}"'
    return ConfigurationError(variable, f"{value} is not allowed", f"use {allowed(name)}")
