"""What must be true before the validator starts, and the sentence where it is not."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from gaia.validator.app.startup.preflight import (
    claim_data_dir,
    preflight,
    require_free_port,
    require_hotkey_file,
    require_log_folder,
    require_space,
)
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import ConfigurationError, ExitCode
from gaia.validator.utils.logs.files import LogFiles


@pytest.fixture
def a_wallet(tmp_path: Path) -> Path:
    hotkey = tmp_path / "wallets" / "default" / "hotkeys" / "default"
    hotkey.parent.mkdir(parents=True)
    hotkey.write_text("{}")
    return tmp_path / "wallets"


@pytest.fixture
def a_busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_preflight_takes_the_data_folder(tmp_path: Path, a_wallet: Path) -> None:
    settings = Settings(data_dir=tmp_path / "deep" / "data", wallet_path=a_wallet, metrics_port=0)

    lock = preflight(settings.files, settings.chain, settings.sandbox, settings.observation)

    assert (tmp_path / "deep" / "data" / "lock").read_text() == f"{os.getpid()}\n"
    os.close(lock)


def test_preflight_lets_go_of_the_data_folder_when_something_else_is_wrong(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", wallet_path=tmp_path, metrics_port=0)

    with pytest.raises(ConfigurationError):
        preflight(settings.files, settings.chain, settings.sandbox, settings.observation)

    os.close(claim_data_dir(tmp_path / "data"))


def test_folder_of_log_files_that_cannot_be_written_is_refused(tmp_path: Path, a_wallet: Path) -> None:
    (tmp_path / "logs").write_text("a file in its place")
    settings = Settings(
        data_dir=tmp_path / "data", wallet_path=a_wallet, metrics_port=0, log_dir=tmp_path / "logs"
    )

    with pytest.raises(ConfigurationError, match="GAIA_LOG_DIR: no file can be written in") as raised:
        preflight(settings.files, settings.chain, settings.sandbox, settings.observation)

    assert raised.value.exit_code == ExitCode.BAD_SETTING
    os.close(claim_data_dir(tmp_path / "data"))


def test_folder_of_log_files_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    require_log_folder(LogFiles(folder=str(tmp_path / "deep" / "logs")))

    assert stat.S_IMODE((tmp_path / "deep" / "logs").stat().st_mode) == 0o700
    assert list((tmp_path / "deep" / "logs").iterdir()) == []


def test_data_folder_in_use_names_the_process_that_has_it(tmp_path: Path) -> None:
    first = claim_data_dir(tmp_path)

    with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}; stop") as raised:
        claim_data_dir(tmp_path)

    assert raised.value.exit_code == ExitCode.DATA_DIR_IN_USE
    os.close(first)
    os.close(claim_data_dir(tmp_path))


def test_data_folder_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be created; choose another") as raised:
        claim_data_dir(Path("/proc/gaia"))

    assert raised.value.exit_code == ExitCode.DATA_DIR_READ_ONLY


def test_data_folder_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be written") as raised:
        claim_data_dir(Path("/sys/gaia"))

    assert raised.value.exit_code == ExitCode.DATA_DIR_READ_ONLY


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_data_folder_without_space_is_refused(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pwrite", full)

    with pytest.raises(ConfigurationError, match="no space left") as raised:
        claim_data_dir(tmp_path)

    assert raised.value.exit_code == ExitCode.DATA_DIR_FULL


def test_file_in_place_of_the_data_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    with pytest.raises(ConfigurationError, match="is not a usable folder") as raised:
        claim_data_dir(tmp_path / "data")

    assert raised.value.exit_code == ExitCode.BAD_SETTING


def test_too_little_space_is_refused(tmp_path: Path) -> None:
    require_space(tmp_path, 1)

    with pytest.raises(ConfigurationError, match="GAIA_DATA_MIN_FREE_MIB requires 1000000000") as raised:
        require_space(tmp_path, 10**9)

    assert raised.value.exit_code == ExitCode.DATA_DIR_FULL


def test_missing_hotkey_file_is_named(a_wallet: Path) -> None:
    require_hotkey_file(Settings(wallet_path=a_wallet).chain)

    with pytest.raises(ConfigurationError, match="hotkeys/other; create it") as raised:
        require_hotkey_file(Settings(wallet_path=a_wallet, wallet_hotkey="other").chain)

    assert raised.value.exit_code == ExitCode.HOTKEY_MISSING


def test_hotkey_file_that_may_not_be_looked_for_is_named(
    a_wallet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "is_file", refuse)

    with pytest.raises(ConfigurationError, match=r"cannot be found \(Permission denied\)") as raised:
        require_hotkey_file(Settings(wallet_path=a_wallet).chain)

    assert raised.value.exit_code == ExitCode.HOTKEY_MISSING


def test_file_that_is_named_by_itself_needs_no_wallet(tmp_path: Path) -> None:
    hotkey = tmp_path / "gaia_hotkey"
    hotkey.write_text("{}")
    require_hotkey_file(Settings(wallet_path=tmp_path / "none", hotkey_file=hotkey).chain)
    hotkey.unlink()

    with pytest.raises(
        ConfigurationError, match="GAIA_HOTKEY_FILE: there is no hotkey file .*; create it, or name another"
    ):
        require_hotkey_file(Settings(hotkey_file=hotkey).chain)


def test_wallet_of_a_user_who_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigurationError, match="hotkey file ~nobody_here/") as raised:
        require_hotkey_file(Settings(wallet_path=Path("~nobody_here")).chain)

    assert raised.value.exit_code == ExitCode.HOTKEY_MISSING


def test_busy_metrics_port_is_refused(a_busy_port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"port {a_busy_port} on 127.0.0.1 is in use") as raised:
        require_free_port("127.0.0.1", a_busy_port)

    assert raised.value.exit_code == ExitCode.PORT_BUSY


def test_free_port_and_no_port_are_fine(a_busy_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    require_free_port("127.0.0.1", port)
    require_free_port("127.0.0.1", 0)


@pytest.mark.parametrize("host", ["192.0.2.1", "256.1.1.1"])
def test_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"GAIA_METRICS_HOST: cannot listen on {host}") as raised:
        require_free_port(host, 1)

    assert raised.value.exit_code == ExitCode.BAD_SETTING
