"""A file's digest is the protocol's, and there is one place where it is worked out."""

from __future__ import annotations

import hashlib

import pytest

from gaia.tasks.defined_tasks.weather.wire.store_digests import file_digest

DIGEST = "49a8f5c06e3ecf6e215b990dcf8839191b441afef34d7026494f4d3268f38a69"


def test_digest_is_the_one_of_the_protocol() -> None:
    assert file_digest("2t/0.0.0", b"abc") == DIGEST
    assert file_digest("2t/0.0.0", b"abc") == hashlib.sha256(b"2t/0.0.0\x00abc").hexdigest()


@pytest.mark.parametrize(
    ("path", "content"), [("2t/1.0.0", b"abc"), ("2t/0.0.0", b"abd"), ("2t/0.0.0a", b"bc")]
)
def test_digest_binds_the_content_to_its_path(path: str, content: bytes) -> None:
    assert file_digest(path, content) != DIGEST
