"""Makes and checks manifests, which commit a miner to every byte of its forecast."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import bittensor_core
import msgspec

from gaia.tasks.defined_tasks.weather.wire.messages import printable
from gaia.tasks.defined_tasks.weather.wire.strict_json import strict_json
from gaia.validator.utils.borders import Party, border
from gaia.validator.utils.errors import InvalidManifest, MinerFault

MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "manifest.sig"
SIGNATURE_BYTES = 64
MAX_MANIFEST_BYTES = 1024 * 1024
"""Largest size of a manifest; an honest one (69 fields, 40 steps) has 221 KB."""
MAX_FILES = 8192
"""Largest number of files; an honest forecast has fewer than 2,800."""
MAX_PATH_LENGTH = 256
MAX_PATH_SEGMENTS = 8
"""Largest number of folders in a path; a store has two, and the cost of checks grows with them."""
SCHEMA_VERSION = "1.0"
PROFILE_VERSION = "3.4.0-verify_on_read_mapper"

_SEGMENT = re.compile(r"[A-Za-z0-9_.-]+\Z")


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Members of manifest.json (protocol.md, 2.7)."""

    manifest_schema_version: Annotated[str, msgspec.Meta(max_length=64)]
    profile_structure_version: Annotated[str, msgspec.Meta(max_length=64)]
    chunk_hash_algorithm: Annotated[str, msgspec.Meta(max_length=64)]
    signer_hotkey_ss58: Annotated[str, msgspec.Meta(max_length=64)]
    files: dict[str, Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]]


@dataclass(frozen=True, slots=True)
class FrozenManifest:
    """Digests of a valid manifest, which the miner must match from now on."""

    files: dict[str, str]
    """Path relative to the store -> sha256 (hex) from `store_layout.file_digest`."""
    sha256: str
    """Sha256 (hex) of the manifest's bytes."""
    signed_by: str
    """Hotkey that signed it."""


def build_manifest(miner_hotkey: str, files: Mapping[str, str]) -> bytes:
    """Return the bytes of manifest.json for `files` (relative path -> `store_layout.file_digest`)."""
    manifest = Manifest(
        manifest_schema_version=SCHEMA_VERSION,
        profile_structure_version=PROFILE_VERSION,
        chunk_hash_algorithm="sha256",
        signer_hotkey_ss58=miner_hotkey,
        files=dict(files),
    )
    return json.dumps(msgspec.to_builtins(manifest), sort_keys=True, indent=4).encode()


def verify_manifest(content: bytes, signature: bytes, claimed_sha256: str, *hotkeys: str) -> FrozenManifest:
    """Check a manifest against the miner's claim, hotkey and signature; return its digests.

    Parameters
    ----------
    content, signature
        manifest.json and manifest.sig as served; the signature is 64 bytes of sr25519.
    claimed_sha256
        The `verification_hash` of the miner's reply, hex.
    hotkeys
        ss58 addresses of the requested miner: its present one, and the one before a swap.

    Raises
    ------
    MinerFault
        If a check fails, with the reason.
    MinerUnreachable
        If a check raises an unexpected error.
    """
    with border(Party.MINER, "manifest"):
        return _verified(content, signature, claimed_sha256, hotkeys)


def require_store_path(path: str) -> str:
    """Return `path` if it can only be inside a store: relative, plain, without `..`.

    Raises
    ------
    MinerFault
        Otherwise.
    """
    segments = path.split("/", MAX_PATH_SEGMENTS)
    plain = all(_SEGMENT.match(segment) and segment not in (".", "..") for segment in segments)
    if not plain or len(path) > MAX_PATH_LENGTH or len(segments) > MAX_PATH_SEGMENTS:
        raise MinerFault(f"path {printable(path, 64)!r} is not allowed in a store")
    return path


def _verified(
    content: bytes, signature: bytes, claimed_sha256: str, hotkeys: Sequence[str]
) -> FrozenManifest:
    if len(content) > MAX_MANIFEST_BYTES:
        raise InvalidManifest(f"manifest of {len(content)} bytes exceeds {MAX_MANIFEST_BYTES}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != claimed_sha256.lower():
        raise InvalidManifest(
            f"manifest has sha256 {digest}, the miner claimed {printable(claimed_sha256, 64)}"
        )
    manifest = _parse(content)
    signer = manifest.signer_hotkey_ss58
    if signer not in hotkeys:
        raise InvalidManifest(f"manifest is signed by {printable(signer)}, not the miner")
    if not _is_signed(content, signature, signer):
        raise InvalidManifest("manifest signature is not the miner's")
    return FrozenManifest(files=manifest.files, sha256=digest, signed_by=signer)


def _parse(content: bytes) -> Manifest:
    try:
        # The typed decoder bounds depth and shape; only the second pass finds repeated keys.
        manifest = msgspec.json.decode(content, type=Manifest)
        strict_json(content)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"manifest cannot be read: {printable(str(error))}") from error
    if manifest.manifest_schema_version != SCHEMA_VERSION:
        raise InvalidManifest(f"manifest has schema {printable(manifest.manifest_schema_version)}")
    if manifest.chunk_hash_algorithm != "sha256":
        raise InvalidManifest(f"manifest hashes with {printable(manifest.chunk_hash_algorithm)}, not sha256")
    _require_files(manifest.files)
    return manifest


def _require_files(files: Mapping[str, str]) -> None:
    if not 0 < len(files) <= MAX_FILES:
        raise InvalidManifest(f"manifest names {len(files)} files, not 1 to {MAX_FILES}")
    for path in files:
        require_store_path(path)
        if path in (MANIFEST_NAME, SIGNATURE_NAME):
            raise InvalidManifest(f"manifest names {path}, which cannot hold its own digest")
        folder = path.rpartition("/")[0]
        while folder:
            if folder in files:
                raise InvalidManifest(f"manifest names {folder} both as file and as folder")
            folder = folder.rpartition("/")[0]


def _is_signed(content: bytes, signature: bytes, hotkey: str) -> bool:
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        return bool(bittensor_core.verify(content, signature, hotkey))
    except ValueError:
        return False
