"""Paths of sketches and Gram matrices, and the leads at which sketches are made."""

from __future__ import annotations

from typing import Final

from gaia.validator.utils.identities import Hotkey

SKETCHES: Final = "sketches"
"""Folder below the data folder: <run>/<lead>/<hotkey>.f32, until the lead's Gram matrix is stored."""
MATRICES: Final = "products"
"""Folder of Gram matrices below the data folder: <sha256>.f64, until a day after the run left the window."""
EVERY_HOURS: Final = 24
"""Sketches are made at leads that are multiples of this.

256 forecasts of 69 fields need 256 * 69 * 4050 * 4 bytes = 286 MB per lead, until the lead is
finalised. Their Gram matrices need 256 * 257 * 8 bytes = 526 kB per lead. That is 84 MB for 10
leads and 16 runs.
"""
PUBLIC: Final = "public.f32"
"""File in the folder of a lead with the errors of the public forecasts."""


def sketch_name(hotkey: Hotkey) -> str:
    """Return the file name of a forecast's sketch in the folder of its lead.

    >>> sketch_name(Hotkey("5Miner"))
    '5Miner.f32'
    """
    return f"{hotkey}.f32"


def matrix_name(sha256: str) -> str:
    """Return the file name of a Gram matrix."""
    return f"{sha256}.f64"
