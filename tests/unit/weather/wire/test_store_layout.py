"""Where fields lie in a store, how large its files may be, and how they are digested."""

from __future__ import annotations

import hashlib

import pytest

from gaia.tasks.defined_tasks.weather.validator.reading.chunks import METADATA_MAX_BYTES, Contract
from gaia.tasks.defined_tasks.weather.variables import GRIDS
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_max_bytes, file_digest, file_max_bytes

DIGEST = "49a8f5c06e3ecf6e215b990dcf8839191b441afef34d7026494f4d3268f38a69"


@pytest.mark.parametrize("grid", GRIDS)
def test_what_is_fetched_is_limited_as_what_is_read(grid: str) -> None:
    contract = Contract(grid=grid, steps=40, step_hours=6)

    assert chunk_max_bytes(grid) == file_max_bytes("z/39.12.0.0", grid) == contract.chunk_max_bytes
    assert file_max_bytes("z/.zarray", grid) == METADATA_MAX_BYTES


def test_digest_is_the_one_of_the_protocol() -> None:
    assert file_digest("2t/0.0.0", b"abc") == DIGEST
    assert file_digest("2t/0.0.0", b"abc") == hashlib.sha256(b"2t/0.0.0\x00abc").hexdigest()


@pytest.mark.parametrize(
    ("path", "content"), [("2t/1.0.0", b"abc"), ("2t/0.0.0", b"abd"), ("2t/0.0.0a", b"bc")]
)
def test_digest_binds_the_content_to_its_path(path: str, content: bytes) -> None:
    assert file_digest(path, content) != DIGEST
