"""Settings: where they come from, and what is said when they are wrong."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from gaia.validator.utils.config import (
    RETIRED,
    Settings,
    allowed,
    load_settings,
    names_of,
    variable_of,
)
from gaia.validator.utils.errors import ConfigurationError, ExitCode


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_settings_are_forty_or_more_and_each_is_described() -> None:
    fields = Settings.model_fields

    assert len(fields) >= 40
    assert [name for name, field in fields.items() if not field.description] == []


def test_defaults_pass_their_own_rules() -> None:
    assert load_settings(None) == Settings.model_validate(Settings().model_dump())


def test_command_line_wins_over_environment_over_file_over_default(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file.write_text("GAIA_NETUID=1\nGAIA_DATABASE_NAME=of_file\nGAIA_WALLET_NAME=of_file\n")
    monkeypatch.setenv("GAIA_NETUID", "2")
    monkeypatch.setenv("GAIA_DATABASE_NAME", "of_environment")

    settings = load_settings(env_file, netuid=3, wallet_hotkey=None)

    assert settings.netuid == 3
    assert settings.database_name == "of_environment"
    assert settings.wallet_name == "of_file"
    assert settings.wallet_hotkey == "default"


def test_describe_says_where_each_value_came_from(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("GAIA_WALLET_NAME=cold\n")
    monkeypatch.setenv("NETUID", "237")
    monkeypatch.setenv("GAIA_LOG_LEVEL", "debug")

    rows = {name: (value, origin) for name, value, origin in load_settings(env_file, dry_run=True).describe()}

    assert rows["GAIA_NETUID"] == ("237", "environment NETUID")
    assert rows["GAIA_LOG_LEVEL"] == ("DEBUG", "environment GAIA_LOG_LEVEL")
    assert rows["GAIA_WALLET_NAME"] == ("cold", f"{env_file} GAIA_WALLET_NAME")
    assert rows["GAIA_DRY_RUN"] == ("true", "command line")
    assert rows["GAIA_DATABASE_PORT"] == ("5432", "default")
    assert set(rows) == {variable_of(name) for name in Settings.model_fields}


def test_describe_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAIA_DATABASE_URL", "postgresql://me:hush@db/validator")
    monkeypatch.setenv("CDSAPI_KEY", "hush")

    settings = load_settings(None)

    rows = {name: value for name, value, _ in settings.describe()}
    assert rows["GAIA_DATABASE_URL"] == rows["GAIA_CDS_KEY"] == "***"
    assert rows["GAIA_DATABASE_PASSWORD"] == ""
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("alias", "value", "field", "expected"),
    [
        ("SUBTENSOR_ADDRESS", "ws://127.0.0.1:9944", "chain_endpoint", "ws://127.0.0.1:9944"),
        ("BURN_RATE", "0.5", "burn_fraction", 0.5),
        ("DB_HOST", "localhost", "database_host", "localhost"),
        ("NUM_COMPUTE_WORKERS", "3", "compute_workers", 3),
        ("WEATHER_INITIAL_SCORING_LEAD_HOURS", "[6, 12]", "day1_lead_hours", [6, 12]),
        ("WEATHER_FINAL_SCORING_LEAD_HOURS", "24,48", "final_lead_hours", [24, 48]),
        ("LOGGING_LEVEL", "warning", "log_level", "WARNING"),
    ],
)
def test_names_of_the_original_validator_are_accepted(
    alias: str, value: str, field: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(alias, value)

    assert getattr(load_settings(None), field) == expected


def test_our_own_name_wins_over_an_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETUID", "1")
    monkeypatch.setenv("GAIA_NETUID", "2")

    assert load_settings(None).netuid == 2


def test_no_two_settings_read_the_same_variable() -> None:
    variables = [variable for name in Settings.model_fields for variable in names_of(name)]

    assert len(variables) == len(set(variables))


def test_empty_value_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAIA_ONLY_UID", "")
    monkeypatch.setenv("GAIA_NETUID", "")

    settings = load_settings(None)

    assert (settings.only_uid, settings.netuid) == (None, 57)


def test_dollar_in_a_password_is_taken_literally(env_file: Path) -> None:
    env_file.write_text("GAIA_DATABASE_PASSWORD='a${HOME}$b'\n")

    assert load_settings(env_file).database_password.get_secret_value() == "a${HOME}$b"


@pytest.mark.parametrize(("text", "hour"), [("2026-03-25T18:00", 18), ("2026-03-25T18:00+02:00", 16)])
def test_last_run_is_always_aware_and_in_utc(text: str, hour: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAIA_LAST_RUN", text)

    assert load_settings(None).last_run == datetime(2026, 3, 25, hour, tzinfo=UTC)


def test_one_number_is_a_list_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAIA_DAY1_LEAD_HOURS", "24")

    assert load_settings(None).day1_lead_hours == [24]


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("GAIA_NETUID", "abc", 'GAIA_NETUID: "abc" is not allowed; use a whole number from 0 to 65535.'),
        ("NETUID", "-1", 'NETUID: "-1" is not allowed; use a whole number from 0 to 65535.'),
        ("GAIA_DRY_RUN", "maybe", 'GAIA_DRY_RUN: "maybe" is not allowed; use true or false.'),
        ("GAIA_GRID_DEGREES", "2", 'GAIA_GRID_DEGREES: "2" is not allowed; use 0.25 or 1.0.'),
        ("GAIA_TICK_INTERVAL_S", "inf", 'GAIA_TICK_INTERVAL_S: "inf" is not allowed; use a number above 0.'),
        (
            "GAIA_CHAIN_ENDPOINT",
            "finney",
            'GAIA_CHAIN_ENDPOINT: "finney" is not allowed; use an address that begins with ws:// or wss://.',
        ),
        (
            "GAIA_FINAL_LEAD_HOURS",
            "a,b",
            'GAIA_FINAL_LEAD_HOURS: "a" is not allowed; use whole numbers separated by commas.',
        ),
        (
            "GAIA_DAY1_LEAD_HOURS",
            "13",
            (
                "GAIA_DAY1_LEAD_HOURS: no forecast has a lead of 13 h; "
                "use multiples of 6 up to 240, or change GAIA_FORECAST_STEPS."
            ),
        ),
        (
            "GAIA_DAY1_LEAD_HOURS",
            "12,12",
            "GAIA_DAY1_LEAD_HOURS: is empty or names a lead twice; name each lead once.",
        ),
        (
            "GAIA_FINAL_FIELDS",
            "2t,2t",
            "GAIA_FINAL_FIELDS: is empty or names a field twice; name each field once.",
        ),
        (
            "GAIA_DATABASE_URL",
            "mysql://me:hush@db",
            "GAIA_DATABASE_URL: is not a PostgreSQL URL; write postgresql://user:password@host:port/name.",
        ),
        (
            "GAIA_WORKER_HARD_LIMIT_MIB",
            "300",
            (
                "GAIA_WORKER_HARD_LIMIT_MIB: 300 is below GAIA_WORKER_SOFT_LIMIT_MIB (1024); "
                "raise it to that or more."
            ),
        ),
        (
            "GAIA_MINER_QUERY_RETRY_MINUTES",
            "5,0",
            "GAIA_MINER_QUERY_RETRY_MINUTES: contains a delay that is not above 0; use minutes above 0.",
        ),
        (
            "GAIA_NETIUD",
            "57",
            (
                "GAIA_NETIUD: is not a setting, but the environment contains it (did you mean GAIA_NETUID?); "
                "correct or remove it."
            ),
        ),
        (
            "GAIA_QQQQQQQQ",
            "1",
            "GAIA_QQQQQQQQ: is not a setting, but the environment contains it; correct or remove it.",
        ),
    ],
)
def test_wrong_setting_is_told_in_one_sentence(
    variable: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError) as caught:
        load_settings(None)

    assert str(caught.value) == sentence
    assert caught.value.exit_code is ExitCode.BAD_SETTING


def test_tilde_in_the_data_folder_is_the_home(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of_someone")
    env_file.write_text("GAIA_DATA_DIR=~/gaia\n")

    assert load_settings(env_file).data_dir == Path("/home/of_someone/gaia")


def test_home_of_a_user_who_does_not_exist_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAIA_DATA_DIR", "~nobody_here/gaia")

    with pytest.raises(
        ConfigurationError, match='GAIA_DATA_DIR: "~nobody_here/gaia" is not allowed; use a path'
    ):
        load_settings(None)


def test_unknown_name_in_the_file_is_refused_with_the_file_named(env_file: Path) -> None:
    env_file.write_text("GAIA_BURN_FRACTON=0.5\nUNRELATED=1\n")

    with pytest.raises(ConfigurationError, match=r"\.env contains it \(did you mean GAIA_BURN_FRACTION\?\)"):
        load_settings(env_file)


def test_ill_typed_secret_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, cds_key=["hush"])

    assert str(caught.value) == "GAIA_CDS_KEY: this value is not allowed; use text."


def test_override_that_is_no_setting_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="GAIA_NETIUD: is not a setting; remove it"):
        load_settings(None, netiud=3)


def test_names_the_original_read_without_counterpart_are_ignored(env_file: Path) -> None:
    env_file.write_text("".join(f"{name}=1\n" for name in RETIRED))

    assert load_settings(env_file) == Settings()


def test_unreadable_file_is_told_in_one_sentence(env_file: Path) -> None:
    env_file.write_bytes(b"GAIA_WALLET_NAME=\xff\xfe\n")

    with pytest.raises(ConfigurationError, match=r"\.env: cannot be read"):
        load_settings(env_file)


def test_missing_file_is_as_good_as_empty(env_file: Path) -> None:
    assert load_settings(env_file) == Settings()


def test_settings_cannot_be_changed_or_misspelt() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().netuid = 3
    with pytest.raises(ValidationError, match="netuidd"):
        Settings(netuidd=3)  # type: ignore[call-arg]


def test_settings_survive_the_way_to_another_process_with_their_origins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NETUID", "237")
    settings = load_settings(None)

    copy = pickle.loads(pickle.dumps(settings))

    assert copy == settings
    assert copy.describe() == settings.describe()


def test_settings_built_in_code_are_described_as_given() -> None:
    rows = {name: origin for name, _, origin in Settings(netuid=1).describe()}

    assert (rows["GAIA_NETUID"], rows["GAIA_DRY_RUN"]) == ("command line", "default")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_is_allowed(name: str) -> None:
    assert allowed(name)


def test_line_of_the_file_that_is_no_setting_is_named(env_file: Path) -> None:
    env_file.write_text("GAIA_NETUID=1\n'GAIA_WALLET_NAME\n")

    with pytest.raises(ConfigurationError, match=r"\.env: line 2 is not of the form NAME=value; correct"):
        load_settings(env_file)


def test_settings_made_by_hand_read_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("GAIA_NETUID=1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETUID", "2")
    monkeypatch.setenv("GAIA_NETIUD", "3")

    assert Settings().netuid == 57


def test_reading_settings_loads_no_numpy_and_no_network() -> None:
    show = "import sys, gaia.validator.utils.config; print(*sys.modules)"

    loaded = subprocess.check_output([sys.executable, "-c", show], text=True).split()

    assert not {"numpy", "httpx", "asyncpg", "bittensor"} & set(loaded)


@pytest.mark.parametrize("address", ["", "cluster", "cluster:8786"])
def test_cluster_needs_an_address(address: str) -> None:
    with pytest.raises(ValidationError, match="is not an address, and the dask backend needs one"):
        Settings(compute_backend="dask", dask_scheduler=address, sandbox="off")


def test_cluster_is_not_used_in_place_of_a_sandbox_unless_it_is_waived() -> None:
    with pytest.raises(ValidationError, match="whose workers have no sandbox"):
        Settings(compute_backend="dask", dask_scheduler="tcp://cluster:8786")

    Settings(compute_backend="dask", dask_scheduler="tcp://cluster:8786", sandbox="off")
