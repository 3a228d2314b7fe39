"""Tests of the chain signer: what it signs, what it refuses, how it ends without a hotkey."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bittensor_core
import pytest
from bittensor.keyfiles import Keyfile
from structlog.testing import capture_logs

from gaia.localnet.wallets import VALIDATOR_URI, write_hotkey
from gaia.validator.app import chain_signer
from gaia.validator.app.chain_signer import ChainSigner, run_chain_signer
from gaia.validator.app.meeting.heartbeat import Heart, last_beat
from gaia.validator.core.chain.hotkey import load_private_wallet, load_wallet
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import ConfigurationError, ExitCode, TransientError
from gaia.validator.utils.secrecy import without_secrets
from gaia.validator.utils.settings.handed import SignerSettings
from tests.support.patience import patience
from tests.support.subnet import MINERS, VALIDATOR, vector

_NOWHERE = "ws://127.0.0.1:9"
_MINER = MINERS[0]


@pytest.fixture
def settings(tmp_path: Path) -> SignerSettings:
    write_hotkey(tmp_path / "wallets", "validator", "default", VALIDATOR_URI)
    return _settings(tmp_path)


def _settings(tmp_path: Path, **changes: Any) -> SignerSettings:
    values: dict[str, Any] = {
        "wallet_name": "validator",
        "wallet_path": tmp_path / "wallets",
        "data_dir": tmp_path / "data",
        "chain_endpoint": _NOWHERE,
        "chain_timeout_s": patience(5.0),
    }
    return Settings(**values | changes).signer


@asynccontextmanager
async def _serving(
    settings: SignerSettings, tmp_path: Path, heart: Heart | None = None
) -> AsyncIterator[SignerClient]:
    """Run a signer in this process, then end it as the Supervisor does."""
    path = tmp_path / "signer.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    serving = asyncio.create_task(ChainSigner(settings, load_wallet(settings.chain), heart).serve(listener))
    client = SignerClient(path, settings.chain.chain_timeout_s)
    try:
        yield client
    finally:
        await client.close()
        if not serving.done():
            # It handles the signal while it serves; one that failed tells of that instead.
            os.kill(os.getpid(), signal.SIGTERM)
        await serving


async def test_the_signature_is_the_one_miners_verify(settings: SignerSettings, tmp_path: Path) -> None:
    async with _serving(settings, tmp_path) as client:
        signed = await client.sign_auth(_MINER, "a-uuid")

    assert signed.validator_hotkey == VALIDATOR
    assert re.fullmatch(r"\d{19}_[A-Za-z0-9]{10}", signed.nonce)
    assert abs(int(signed.nonce.split("_")[0]) - time.time_ns()) < 60 * 10**9
    message = f"{signed.nonce}:{_MINER}:a-uuid".encode()
    signature = bytes.fromhex(signed.signature.removeprefix("0x"))
    assert bittensor_core.verify(message, signature, VALIDATOR, 1)


async def test_signer_says_at_its_end_what_it_has_answered(settings: SignerSettings, tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with _serving(settings, tmp_path) as client:
            for number in range(3):
                await client.sign_auth(_MINER, f"uuid-{number}")

    (ended,) = [line for line in logs if line["event"] == "signer_ended"]
    assert (ended["log_level"], ended["answered"]) == ("info", {"SignAuth": 3})


async def test_loop_of_the_signer_beats_until_it_ends(settings: SignerSettings, tmp_path: Path) -> None:
    beats: list[float] = []

    class Counted(Heart):
        def beat(self) -> None:
            super().beat()
            beats.append(last_beat(tmp_path / "heart", os.getpid()) or 0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain_signer, "_BEAT_S", 0.001)
        async with _serving(settings, tmp_path, Counted(tmp_path / "heart")) as client:
            await client.sign_auth(_MINER, "a-uuid")
            async with asyncio.timeout(patience(10.0)):
                while len(beats) < 3:
                    await asyncio.sleep(0)
    at_the_end = len(beats)
    await asyncio.sleep(0.005)

    assert beats == sorted(beats)
    assert beats[0] > 0.0
    assert len(beats) == at_the_end


async def test_no_two_nonces_are_alike(settings: SignerSettings, tmp_path: Path) -> None:
    async with _serving(settings, tmp_path) as client:
        signed = await asyncio.gather(*(client.sign_auth(_MINER, "a-uuid") for _ in range(20)))
    assert len({each.nonce for each in signed}) == 20


async def test_a_dry_run_signs_no_weights(settings: SignerSettings, tmp_path: Path) -> None:
    async with _serving(_settings(tmp_path, dry_run=True), tmp_path) as client:
        with pytest.raises(ConfigurationError, match="GAIA_DRY_RUN"):
            await client.set_weights(vector(1, {1: 65535}))


async def test_an_unreachable_chain_is_a_transient_error(settings: SignerSettings, tmp_path: Path) -> None:
    async with _serving(settings, tmp_path) as client:
        with pytest.raises(TransientError, match="chain failed while connecting"):
            await client.read_metagraph()


async def test_a_connection_that_makes_no_sense_is_dropped(settings: SignerSettings, tmp_path: Path) -> None:
    async with _serving(settings, tmp_path) as client:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "signer.sock")
        writer.write(struct.pack("!I", 2**31))
        assert await reader.read() == b""
        writer.close()
        assert (await client.sign_auth(_MINER, "a-uuid")).validator_hotkey == VALIDATOR


async def test_another_user_is_refused(
    settings: SignerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getuid", lambda: -1)
    async with _serving(settings, tmp_path) as client:
        with pytest.raises(TransientError, match="the connection to the chain signer"):
            await client.sign_auth(_MINER, "a-uuid")


def test_a_missing_hotkey_ends_in_one_sentence_and_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_signer, "_refuse_inspection", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(chain_signer, "spare_loopback", lambda *_: None)
    monkeypatch.setattr(chain_signer, "configure_logging", lambda *_, **__: None)
    with socket.socket(socket.AF_UNIX) as unused:
        unused.bind(str(tmp_path / "unused.sock"))
        with pytest.raises(ConfigurationError) as raised:
            run_chain_signer(_settings(tmp_path), unused)

    assert raised.value.exit_code == ExitCode.HOTKEY_MISSING
    sentence = str(raised.value)
    assert sentence.startswith("GAIA_WALLET_HOTKEY: there is no hotkey validator/hotkeys/default in ")
    assert "\n" not in sentence


@pytest.mark.parametrize("content", ["{}", f'{{"ss58Address": "{VALIDATOR}"}}', "not even json"])
def test_a_damaged_hotkey_file_is_the_operators_to_fix(tmp_path: Path, content: str) -> None:
    write_hotkey(tmp_path / "wallets", "validator", "default", VALIDATOR_URI)
    (tmp_path / "wallets" / "validator" / "hotkeys" / "default").write_text(content)
    with pytest.raises(ConfigurationError, match="damaged") as raised:
        load_wallet(_settings(tmp_path).chain)
    assert raised.value.exit_code is ExitCode.HOTKEY_MISSING


def test_an_encrypted_hotkey_file_is_refused_without_asking_for_a_password(tmp_path: Path) -> None:
    write_hotkey(tmp_path / "wallets", "validator", "default", VALIDATOR_URI)
    file = tmp_path / "wallets" / "validator" / "hotkeys" / "default"
    file.write_bytes(b"$NACL" + bytes(64))
    with pytest.raises(ConfigurationError, match=r"encrypted; store it .*, or set BT_PW_.*_HOTKEYS_DEFAULT"):
        load_wallet(_settings(tmp_path).chain)


def test_encrypted_hotkey_is_opened_with_the_password_of_the_sdks_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_hotkey(tmp_path / "wallets", "validator", "default", VALIDATOR_URI)
    file = Keyfile(tmp_path / "wallets" / "validator" / "hotkeys" / "default")
    file.set_keypair(file.get_keypair(), encrypt=True, overwrite=True, password="a-long-password-7")
    settings = _settings(tmp_path).chain

    monkeypatch.setenv(file.env_var_name(), "")
    file.save_password_to_env("another-password-7")
    with pytest.raises(ConfigurationError, match="the password in BT_PW_.* does not open the hotkey"):
        load_wallet(settings)
    file.save_password_to_env("a-long-password-7")

    assert load_wallet(settings).hotkey.ss58_address == VALIDATOR
    assert "a-long-password-7" not in without_secrets("opened with a-long-password-7")


@pytest.mark.parametrize(
    ("changed", "mode", "problem"),
    [
        ("hotkeys/default", 0o640, r"other users can read or change .* \(mode 0640\); run `chmod 600"),
        ("hotkeys/default", 0o604, "other users can read or change"),
        ("hotkeys", 0o777, r"every user can replace the files in .* \(mode 0777\); run `chmod go-w"),
    ],
)
def test_hotkey_that_others_can_use_is_refused_with_the_command_that_helps(
    tmp_path: Path, changed: str, mode: int, problem: str
) -> None:
    write_hotkey(tmp_path / "wallets", "validator", "default", VALIDATOR_URI)
    settings = _settings(tmp_path).chain
    load_private_wallet(settings)
    (tmp_path / "wallets" / "validator" / changed).chmod(mode)

    with pytest.raises(ConfigurationError, match=problem) as raised:
        load_private_wallet(settings)
    assert raised.value.exit_code is ExitCode.HOTKEY_MISSING


def test_credential_that_the_service_manager_lists_for_our_user_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_hotkey(tmp_path / "wallets", "validator", "default", VALIDATOR_URI)
    credential = (tmp_path / "wallets" / "validator" / "hotkeys" / "default").rename(tmp_path / "gaia_hotkey")
    credential.chmod(0o440)
    settings = _settings(tmp_path, hotkey_file=credential).chain
    with pytest.raises(ConfigurationError, match="GAIA_HOTKEY_FILE: other users can read"):
        load_private_wallet(settings)

    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert load_private_wallet(settings).hotkey.ss58_address == VALIDATOR


def test_a_hotkey_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    assert write_hotkey(tmp_path, "validator", "default", VALIDATOR_URI) == VALIDATOR
    assert (tmp_path / "validator" / "hotkeys" / "default").stat().st_mode & 0o777 == 0o600


def test_hotkey_is_loaded_from_a_file_that_is_named_by_itself(tmp_path: Path) -> None:
    """As systemd hands it over: no wallet around it."""
    write_hotkey(tmp_path / "elsewhere", "validator", "default", VALIDATOR_URI)
    credential = tmp_path / "gaia_hotkey"
    (tmp_path / "elsewhere" / "validator" / "hotkeys" / "default").rename(credential)
    settings = _settings(tmp_path, hotkey_file=credential, wallet_path=tmp_path / "none")

    assert load_wallet(settings.chain).hotkey.ss58_address == VALIDATOR
    credential.write_text("{}")
    with pytest.raises(
        ConfigurationError, match=r"GAIA_HOTKEY_FILE: the file of hotkey .*gaia_hotkey is damaged"
    ):
        load_wallet(settings.chain)
