"""Paths in a miner's zarr store, and the digests of its files."""

from __future__ import annotations

import hashlib

from gaia.tasks.defined_tasks.weather.variables import GRIDS, LEVELS_HPA, split_field

METADATA_MAX_BYTES = 64 * 1024
_ITEM_BYTES = 4
_FRAME_HEADER_BYTES = 16


def metadata_path(field: str) -> str:
    """Return the path of the array metadata of a field's variable.

    >>> metadata_path("z500")
    'z/.zarray'
    """
    return f"{split_field(field)[0]}/.zarray"


def chunk_path(field: str, lead_hours: int, step_hours: int) -> str:
    """Return the path of the chunk that holds a field at a lead time.

    Arrays are (time, lat, lon) or (time, pressure_level, lat, lon), with one chunk per field. The
    first time is one step after the initial time.

    >>> chunk_path("2t", 12, 6), chunk_path("z500", 6, 6)
    ('2t/1.0.0', 'z/0.7.0.0')
    """
    variable, level = split_field(field)
    step = lead_hours // step_hours - 1
    if level is None:
        return f"{variable}/{step}.0.0"
    return f"{variable}/{step}.{LEVELS_HPA.index(level)}.0.0"


def chunk_max_bytes(grid: str) -> int:
    """Return the size of the largest chunk of a grid: one incompressible field and a blosc header.

    >>> chunk_max_bytes("1.0")
    260656
    """
    latitudes, longitudes = GRIDS[grid]
    return latitudes * longitudes * _ITEM_BYTES + _FRAME_HEADER_BYTES


def file_max_bytes(path: str, grid: str) -> int:
    """Return the largest allowed size of a file of a store that a validator reads.

    >>> file_max_bytes("2t/.zarray", "1.0")
    65536
    """
    return METADATA_MAX_BYTES if path.endswith("/.zarray") else chunk_max_bytes(grid)


def file_digest(path: str, content: bytes) -> str:
    """Return the digest (hex) of a file of a store: sha256 of path, NUL, content (protocol.md, 2.7).

    Examples
    --------
    >>> file_digest("2t/0.0.0", b"abc")
    '49a8f5c06e3ecf6e215b990dcf8839191b441afef34d7026494f4d3268f38a69'
    """
    digest = hashlib.sha256(path.encode())
    digest.update(b"\0")
    digest.update(content)
    return digest.hexdigest()
