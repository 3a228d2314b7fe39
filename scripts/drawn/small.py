"""Writes pictures as small PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PIL import Image

_COLOURS: Final = 96
_PASSES: Final = 1
"""Passes that move the palette to the colours that are there, so that plain areas keep theirs."""


def shrink(source: Path, target: Path) -> int:
    """Write a picture with a palette, which drawings hardly show; return the bytes of the file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as picture:
        flat = picture.convert("RGB")
        few = flat.quantize(
            _COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=_PASSES, dither=Image.Dither.NONE
        )
    few.save(target, optimize=True)
    return target.stat().st_size
