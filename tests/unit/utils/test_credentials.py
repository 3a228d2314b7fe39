"""Secrets that the service manager hands over as files: what is read, what wins, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gaia.cli.__main__ import main
from gaia.validator.app.startup.options import supervisor_options
from gaia.validator.utils.config import Settings, credentials_of, is_secret, load_settings
from gaia.validator.utils.errors import ConfigurationError, ExitCode


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that systemd would fill; the working folder has no `.env`."""
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_every_secret_and_nothing_else_but_the_hotkey_has_a_credential() -> None:
    having = {name: credentials_of(name) for name in Settings.model_fields if credentials_of(name)}

    secrets = {name for name in Settings.model_fields if is_secret(name)}
    assert having == {name: [f"gaia_{name}"] for name in secrets} | {"hotkey_file": ["gaia_hotkey"]}


def test_secrets_are_read_from_credentials(credentials: Path) -> None:
    (credentials / "gaia_cds_key").write_text("of-a-file\n")
    (credentials / "gaia_notify_urls").write_text("ntfy://one, ntfy://two\n")
    (credentials / "gaia_hotkey").write_text("{}")

    settings = load_settings(None)

    assert settings.cds_key.get_secret_value() == "of-a-file"
    assert [url.get_secret_value() for url in settings.notify_urls] == ["ntfy://one", "ntfy://two"]
    assert settings.chain.hotkey_path == credentials / "gaia_hotkey"


def test_environment_wins_over_credential_and_credential_over_file(
    credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file = credentials.parent / ".env"
    env_file.write_text(
        "GAIA_CDS_KEY=of_file\nGAIA_DATABASE_PASSWORD=of_file\nGAIA_EARTHDATA_PASSWORD=of_file\n"
    )
    for name in ("gaia_cds_key", "gaia_database_password"):
        (credentials / name).write_text("of_credential")
    monkeypatch.setenv("CDSAPI_KEY", "of_environment")

    settings = load_settings(env_file)

    assert settings.cds_key.get_secret_value() == "of_environment"
    assert settings.database_password.get_secret_value() == "of_credential"
    assert settings.earthdata_password.get_secret_value() == "of_file"


def test_empty_credential_counts_as_not_set(credentials: Path) -> None:
    (credentials / "gaia_cds_key").write_text("\n")

    rows = {name: origin for name, _, origin in load_settings(None).describe()}

    assert load_settings(None).cds_key.get_secret_value() == ""
    assert rows["GAIA_CDS_KEY"] == "credential gaia_cds_key"


def test_config_show_names_the_credential_and_hides_its_value(
    credentials: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (credentials / "gaia_cds_key").write_text("canary-of-the-key")
    (credentials / "gaia_hotkey").write_text("canary-of-the-hotkey")

    assert main(["config", "show", "--origin", "--json"]) == 0

    printed = capsys.readouterr().out
    rows = {row["name"]: (row["value"], row["origin"]) for row in json.loads(printed)}
    assert rows["GAIA_CDS_KEY"] == ("***", "credential gaia_cds_key")
    assert rows["GAIA_HOTKEY_FILE"] == (str(credentials / "gaia_hotkey"), "credential gaia_hotkey")
    assert "canary" not in printed


def test_misspelt_credential_is_refused_with_a_hint(credentials: Path) -> None:
    (credentials / "gaia_cds_kee").write_text("x")

    with pytest.raises(
        ConfigurationError, match=r"gaia_cds_kee: is not a secret .*did you mean gaia_cds_key"
    ) as raised:
        load_settings(None)

    assert raised.value.exit_code is ExitCode.BAD_SETTING


def test_setting_that_is_no_secret_is_refused_as_a_credential(credentials: Path) -> None:
    (credentials / "gaia_netuid").write_text("57")

    with pytest.raises(ConfigurationError, match="gaia_netuid: is not a secret"):
        load_settings(None)


def test_credentials_of_other_programs_are_left_alone(credentials: Path) -> None:
    (credentials / "tls_key").write_bytes(b"\xff\x00")

    assert load_settings(None) == Settings()


def test_value_that_is_not_allowed_is_told_of_the_credential_and_not_shown(credentials: Path) -> None:
    (credentials / "gaia_database_url").write_text("mysql://canary@db/name")

    with pytest.raises(ConfigurationError) as raised:
        load_settings(None)

    assert "is not a PostgreSQL URL" in str(raised.value)
    assert "canary" not in str(raised.value)


def test_credential_that_cannot_be_read_is_named(credentials: Path) -> None:
    """A folder in place of the file refuses every reader, even root."""
    (credentials / "gaia_cds_key").mkdir()

    with pytest.raises(
        ConfigurationError, match=r"gaia_cds_key: the credential cannot be read \(Is a directory\)"
    ):
        load_settings(None)


def test_credential_that_is_not_text_is_named(credentials: Path) -> None:
    (credentials / "gaia_cds_key").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigurationError, match="gaia_cds_key: the credential is not text"):
        load_settings(None)


def test_folder_that_is_not_there_is_named(credentials: Path) -> None:
    credentials.rmdir()

    with pytest.raises(ConfigurationError, match="CREDENTIALS_DIRECTORY: .* cannot be read"):
        load_settings(None)


def test_workers_are_not_told_where_credentials_are(credentials: Path) -> None:
    assert "CREDENTIALS_DIRECTORY" in supervisor_options(load_settings(None), -1).withheld
