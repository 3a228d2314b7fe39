"""What the reference miner checks before it answers."""

from __future__ import annotations

import base64
import secrets
import time
from typing import Any

import jwt
import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gaia.miner.sessions import Caller, Nonces, RefusedError, Sessions, issue_token, require_token
from tests.support.miners import LocalSigner

RSA_KEY = rsa.generate_private_key(65537, 2048)
CALLER = Caller("5Validator", "uuid")
SECRET = secrets.token_hex(32)
NOW = 1_800_000_000_000_000_000


def encrypted(key: bytes) -> str:
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return base64.b64encode(RSA_KEY.public_key().encrypt(key, oaep)).decode()


def test_nonce_is_accepted_once() -> None:
    nonces = Nonces()

    assert nonces.accept(f"{NOW}_abc", NOW)
    assert not nonces.accept(f"{NOW}_abc", NOW)


@pytest.mark.parametrize("offset_s", [-121, 121])
def test_nonce_outside_two_minutes_is_refused(offset_s: int) -> None:
    assert not Nonces().accept(f"{NOW + offset_s * 10**9}_abc", NOW)


def test_nonce_is_remembered_for_as_long_as_it_would_be_accepted() -> None:
    nonces = Nonces()
    early = f"{NOW + 100 * 10**9}_abc"

    assert nonces.accept(early, NOW)
    assert nonces.accept(f"{NOW}_other", NOW + 119 * 10**9)
    assert not nonces.accept(early, NOW + 200 * 10**9)


@pytest.mark.parametrize("nonce", ["", "abc", "_", "-1_a", "\u0661_a", f"{NOW}_{'x' * 64}"])
def test_nonce_of_another_shape_is_refused(nonce: str) -> None:
    assert not Nonces().accept(nonce, NOW)


async def test_signed_headers_name_their_caller() -> None:
    signed = await LocalSigner().sign_auth("5Miner", "uuid")
    headers = {
        "validator-hotkey": signed.validator_hotkey,
        "miner-hotkey": "5Miner",
        "symmetric-key-uuid": "uuid",
        "nonce": signed.nonce,
        "signature": signed.signature,
    }

    assert Sessions(RSA_KEY).authenticate(headers) == Caller(signed.validator_hotkey, "uuid")


@pytest.mark.parametrize(
    "headers", [{}, {"signature": "0xzz"}, {"validator-hotkey": "5x", "signature": "00" * 64}]
)
def test_headers_that_prove_nothing_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(RefusedError, match="signature") as refusal:
        Sessions(RSA_KEY).authenticate(headers)
    assert refusal.value.status == 401


def test_exchanged_key_decrypts() -> None:
    sessions, key = Sessions(RSA_KEY), secrets.token_bytes(32)

    sessions.exchange(CALLER, encrypted(key))

    assert sessions.decrypt(CALLER, Fernet(base64.b64encode(key)).encrypt(b"hello")) == b"hello"


@pytest.mark.parametrize(
    "text",
    ["!", base64.b64encode(b"x" * 256).decode(), encrypted(b"short")],
    ids=["no base64", "not encrypted", "of another length"],
)
def test_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        Sessions(RSA_KEY).exchange(CALLER, text)
    assert refusal.value.status == 400


def test_unknown_and_expired_keys_are_asked_for_anew() -> None:
    sessions = Sessions(RSA_KEY, hours=0.0)
    sessions.exchange(CALLER, encrypted(secrets.token_bytes(32)))

    for caller in (CALLER, Caller("5Other", "uuid")):
        with pytest.raises(RefusedError, match="No symmetric key found"):
            sessions.decrypt(caller, b"")


def test_body_under_another_key_is_refused() -> None:
    sessions = Sessions(RSA_KEY)
    sessions.exchange(CALLER, encrypted(secrets.token_bytes(32)))

    with pytest.raises(RefusedError, match="cannot be decrypted"):
        sessions.decrypt(CALLER, Fernet(Fernet.generate_key()).encrypt(b"hello"))


@pytest.mark.parametrize("path", ["a.zarr", "a.zarr/2t/0.0.0"])
def test_token_opens_its_store(path: str) -> None:
    require_token(SECRET, issue_token(SECRET, "j", "a.zarr", 120.0), path)


@pytest.mark.parametrize(
    ("claims", "path", "status"),
    [
        ({"file_path": "a.zarr"}, "b.zarr/x", 403),
        ({"file_path": "a.zarr"}, "a.zarr2/x", 403),
        ({"file_path": ""}, "/x", 403),
        ({}, "a.zarr/x", 401),
        ({"file_path": "a.zarr", "exp": 1}, "a.zarr/x", 401),
    ],
)
def test_token_opens_nothing_else(claims: dict[str, Any], path: str, status: int) -> None:
    token = jwt.encode({"exp": int(time.time()) + 60, **claims}, SECRET, algorithm="HS256")

    with pytest.raises(RefusedError) as refusal:
        require_token(SECRET, token, path)
    assert refusal.value.status == status


def test_token_signed_with_another_secret_or_with_none_is_refused() -> None:
    claims = {"exp": int(time.time()) + 60, "file_path": "a.zarr"}
    unsigned = jwt.encode(claims, None, algorithm="none")  # type: ignore[arg-type] # "none" takes no key
    for token in (jwt.encode(claims, secrets.token_hex(32)), unsigned):
        with pytest.raises(RefusedError):
            require_token(SECRET, token, "a.zarr")
