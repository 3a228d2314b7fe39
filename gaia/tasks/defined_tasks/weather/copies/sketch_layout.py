"""Where the sketches of errors and their products are kept, and at which leads sketches are made."""

from __future__ import annotations

from typing import Final

from gaia.validator.utils.identities import Hotkey

SKETCHES: Final = "sketches"
"""Folder below the data folder: <run>/<lead>/<hotkey>.f32, until the lead's products are kept."""
PRODUCTS: Final = "products"
"""Folder below the data folder: <sha256>.f64, until a day after the run left the window."""
EVERY_HOURS: Final = 24
"""Sketches are made at leads that are multiples of this.

256 forecasts of 69 fields are 256 * 69 * 4050 * 4 bytes = 286 MB a lead, for as long as the lead
is being scored; their products 256 * 257 * 8 bytes = 526 kB a lead: with 10 leads and 16 runs 84 MB.
"""
PUBLIC: Final = "public.f32"
"""In the folder of a lead: the public forecasts' errors."""


def sketch_name(hotkey: Hotkey) -> str:
    """Return the name of a forecast's sketch in the folder of its lead.

    >>> sketch_name(Hotkey("5Miner"))
    '5Miner.f32'
    """
    return f"{hotkey}.f32"


def product_name(sha256: str) -> str:
    """Return the name of a file of products."""
    return f"{sha256}.f64"
