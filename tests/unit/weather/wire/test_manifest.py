"""The miner's commitment: how it is made, and every way in which it can be wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from bittensor_core import Keypair
from hypothesis import given
from hypothesis import strategies as st

from gaia.tasks.defined_tasks.weather.variables import ALL_FIELDS
from gaia.tasks.defined_tasks.weather.wire.manifest import (
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    FrozenManifest,
    build_manifest,
    require_store_path,
    verify_manifest,
)
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_path
from gaia.validator.utils.errors import MinerFault, MinerUnreachable

ALICE = Keypair.create_from_uri("//Alice")
HOTKEY = ALICE.ss58_address
DIGEST = "49a8f5c06e3ecf6e215b990dcf8839191b441afef34d7026494f4d3268f38a69"


def verified(content: bytes, hotkey: str = HOTKEY, signer: Keypair = ALICE) -> FrozenManifest:
    return verify_manifest(content, bytes(signer.sign(content)), hashlib.sha256(content).hexdigest(), hotkey)


def a_manifest(**changes: Any) -> bytes:
    members = json.loads(build_manifest(HOTKEY, {"2t/0.0.0": DIGEST})) | changes
    return json.dumps(members, sort_keys=True, indent=4).encode()


def test_manifest_has_the_bytes_of_the_protocol() -> None:
    content = build_manifest(HOTKEY, {"2t/0.0.0": DIGEST})

    assert len(content) == 329
    expected = "bba397dc035343317398c203d93be4fbcceab9a250d9250e0b30be20e1ec9f69"
    assert hashlib.sha256(content).hexdigest() == expected


def test_signed_manifest_is_frozen_with_its_files() -> None:
    frozen = verified(a_manifest())

    assert frozen.files == {"2t/0.0.0": DIGEST}
    assert frozen.sha256 == "bba397dc035343317398c203d93be4fbcceab9a250d9250e0b30be20e1ec9f69"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (a_manifest(extra=1), "cannot be read"),
        (a_manifest(files={}), "names 0 files"),
        (a_manifest(files={"2t/0.0.0": "ABC"}), "cannot be read"),
        (a_manifest(files={"2t/0.0.0": DIGEST.upper()}), "cannot be read"),
        (a_manifest(files={"2t/0.0.0": f"{DIGEST}\n"}), "cannot be read"),
        (a_manifest(files={"2t/0.0.0": {}}), "cannot be read"),
        (a_manifest(files={f"{n}": DIGEST for n in range(MAX_FILES + 1)}), f"names {MAX_FILES + 1} files"),
        (a_manifest().ljust(MAX_MANIFEST_BYTES + 1), "exceeds"),
        (a_manifest(files={"2t": DIGEST, "2t/0.0.0": DIGEST}), "both as file and as folder"),
        (a_manifest(files={"manifest.json": DIGEST}), "its own digest"),
        (a_manifest(files={"../x": DIGEST}), "not allowed"),
        (a_manifest(chunk_hash_algorithm="xxh64"), "xxh64, not sha256"),
        (a_manifest(manifest_schema_version="2.0"), "schema 2.0"),
        (a_manifest(signer_hotkey_ss58="5Someone"), "signed by 5Someone"),
        (a_manifest().replace(b'"2t/0.0.0"', b'"2t/0.0.0": "%s", "2t/0.0.0"' % DIGEST.encode()), "repeated"),
        (b'{"files": ' + b"[" * 100_000, "cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_manifest_that_breaks_the_protocol_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(MinerFault, match=reason):
        verified(content)


def test_manifest_of_a_whole_forecast_is_far_from_the_limits() -> None:
    paths = [chunk_path(field, 6 * (step + 1), 6) for field in ALL_FIELDS for step in range(40)]

    frozen = verified(build_manifest(HOTKEY, dict.fromkeys(paths, DIGEST)))

    assert len(frozen.files) == 2760
    assert 2 * len(build_manifest(HOTKEY, frozen.files)) < MAX_MANIFEST_BYTES


def test_check_that_ends_in_an_error_nobody_foresaw_is_an_error_of_the_miner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*arguments: object) -> bool:
        raise BufferError("a bug of a library")

    content = a_manifest()
    monkeypatch.setattr("bittensor_core.verify", broken)

    with pytest.raises(MinerUnreachable, match="manifest: BufferError"):
        verified(content)


def test_manifest_other_than_the_claimed_one_is_refused() -> None:
    content = a_manifest()

    with pytest.raises(MinerFault, match="the miner claimed"):
        verify_manifest(content, bytes(ALICE.sign(content)), "0" * 64, HOTKEY)


@pytest.mark.parametrize("cut", [bytes, lambda signature: signature[:63], lambda signature: b"\x00" * 64])
def test_signature_that_does_not_fit_is_refused(cut: Callable[[bytes], bytes]) -> None:
    content = a_manifest()
    signature = cut(bytes(ALICE.sign(content))) if cut is not bytes else b""

    with pytest.raises(MinerFault, match="signature"):
        verify_manifest(content, signature, hashlib.sha256(content).hexdigest(), HOTKEY)


def test_signature_of_another_key_is_refused() -> None:
    with pytest.raises(MinerFault, match="signature"):
        verified(a_manifest(), signer=Keypair.create_from_uri("//Bob"))


def test_hotkey_that_is_no_address_is_refused() -> None:
    with pytest.raises(MinerFault, match="signature"):
        verified(a_manifest(signer_hotkey_ss58="junk"), hotkey="junk")


@pytest.mark.parametrize("path", [".zarray", "2t/.zattrs", "t/39.12.0.0", "manifest.json"])
def test_plain_relative_path_is_allowed(path: str) -> None:
    assert require_store_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "..",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        "a\\b",
        "a\x00",
        "a\n",
        "C:x",
        "\u00e9",
        "a" * 300,
        "/".join("a" * 9),
    ],
)
def test_path_that_could_leave_the_store_is_refused(path: str) -> None:
    with pytest.raises(MinerFault, match="not allowed"):
        require_store_path(path)


@given(st.binary(max_size=300))
def test_any_bytes_are_verified_or_are_the_miners_fault(content: bytes) -> None:
    with pytest.raises(MinerFault):
        verified(content)
