"""The digest by which a manifest names a file; both ends of the wire work it out here."""

from __future__ import annotations

import hashlib


def file_digest(path: str, content: bytes) -> str:
    """Return the hex digest of a file of a store: sha256 of path, NUL, content (protocol.md, 2.7).

    Examples
    --------
    >>> file_digest("2t/0.0.0", b"abc")
    '49a8f5c06e3ecf6e215b990dcf8839191b441afef34d7026494f4d3268f38a69'
    """
    digest = hashlib.sha256(path.encode())
    digest.update(b"\0")
    digest.update(content)
    return digest.hexdigest()
