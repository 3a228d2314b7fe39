"""Doctor and the credentials of a service: what it accepts, what it warns of, and which step it names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gaia.localnet.wallets import VALIDATOR_URI, write_hotkey
from gaia.validator.doctor.examination import examine
from gaia.validator.doctor.findings import Finding, Group, Result

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user's file needs root")


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a hotkey, as systemd makes it where the file system has access lists."""
    write_hotkey(tmp_path / "wallets", "w", "h", VALIDATOR_URI)
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o500)
    (tmp_path / "wallets" / "w" / "hotkeys" / "h").rename(folder / "gaia_hotkey")
    (folder / "gaia_hotkey").chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    monkeypatch.setenv("GAIA_WALLET_PATH", str(tmp_path / "none"))
    return folder


def _found(folder: Path, group: Group) -> dict[str, Finding]:
    report = examine(folder.parent / "main.env", groups=[group])
    return {check.name: finding for check, finding in report.findings if check.group is group}


def test_hotkey_that_is_a_credential_is_well(credentials: Path) -> None:
    found = _found(credentials, Group.HOTKEY)

    results = {name: finding.result for name, finding in found.items()}
    assert results == dict.fromkeys(results, Result.OK) | {"wallet": Result.SKIPPED}
    assert "can sign" in found["hotkey-content"].words


def test_credential_that_all_users_read_is_a_failure(credentials: Path) -> None:
    (credentials / "gaia_hotkey").chmod(0o444)

    assert _found(credentials, Group.HOTKEY)["hotkey-mode"].result is Result.FAILURE


@needs_root
def test_credential_of_a_third_user_is_a_failure(credentials: Path) -> None:
    os.chown(credentials / "gaia_hotkey", NOBODY, NOBODY)

    assert _found(credentials, Group.HOTKEY)["hotkey-owner"].result is Result.FAILURE


def test_same_rights_are_a_failure_where_the_file_is_no_credential(
    credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    monkeypatch.setenv("GAIA_HOTKEY_FILE", str(credentials / "gaia_hotkey"))

    assert _found(credentials, Group.HOTKEY)["hotkey-mode"].result is Result.FAILURE


def test_file_that_is_named_and_missing_is_a_failure(
    credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAIA_HOTKEY_FILE", str(credentials / "none"))

    finding = _found(credentials, Group.HOTKEY)["hotkey-file"]

    assert finding.result is Result.FAILURE
    assert str(finding.steps[0]) == "remove GAIA_HOTKEY_FILE from the environment"


def test_secret_with_two_values_names_the_one_that_counts(credentials: Path) -> None:
    env_file = credentials.parent / "main.env"
    env_file.write_text("CDSAPI_KEY=old\n")
    (credentials / "gaia_cds_key").write_text("new\n")

    finding = _found(credentials, Group.CONFIGURATION)["one-place"]

    assert finding.result is Result.WARNING
    assert finding.words == f"gaia_cds_key in the credentials counts, and CDSAPI_KEY in {env_file} differs"
    assert [str(step) for step in finding.steps] == [f"remove CDSAPI_KEY from {env_file}"]


def test_same_value_in_two_places_is_well(credentials: Path) -> None:
    (credentials.parent / "main.env").write_text("CDSAPI_KEY=same\n")
    (credentials / "gaia_cds_key").write_text("same\n")

    assert _found(credentials, Group.CONFIGURATION)["one-place"].result is Result.OK


def test_environment_against_a_credential_takes_the_credential_away(
    credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAIA_CDS_KEY", "other")
    (credentials / "gaia_cds_key").write_text("new\n")

    finding = _found(credentials, Group.CONFIGURATION)["one-place"]

    assert finding.words.startswith("GAIA_CDS_KEY in the environment counts")
    assert [str(step) for step in finding.steps] == [
        "take the credential gaia_cds_key from the service, and start again"
    ]


def test_misspelt_credential_is_the_one_thing_to_correct(credentials: Path) -> None:
    (credentials / "gaia_cds_kee").write_text("x")

    finding = _found(credentials, Group.CONFIGURATION)["settings"]

    assert finding.result is Result.FAILURE
    assert [str(step) for step in finding.steps] == ["gaia_cds_kee: correct or remove this credential"]


def test_credential_with_a_value_that_is_not_allowed_is_taken_away(credentials: Path) -> None:
    (credentials / "gaia_database_url").write_text("mysql://db/name")

    finding = _found(credentials, Group.CONFIGURATION)["settings"]

    assert [str(step) for step in finding.steps] == [
        "take the credential gaia_database_url from the service, and start again"
    ]


@needs_root
def test_file_of_settings_that_root_shares_with_a_group_is_well(credentials: Path) -> None:
    """As the installer leaves it. A right to write, or rights of all, are not well; nor is root's own group."""
    env_file = credentials.parent / "main.env"
    env_file.write_text("GAIA_CDS_KEY=x\n")
    results = []
    for mode, group in ((0o640, NOBODY), (0o660, NOBODY), (0o644, NOBODY), (0o640, 0)):
        env_file.chmod(mode)
        os.chown(env_file, 0, group)
        results.append(_found(credentials, Group.CONFIGURATION)["env-file-private"].result)

    assert results == [Result.OK, Result.FAILURE, Result.FAILURE, Result.FAILURE]
