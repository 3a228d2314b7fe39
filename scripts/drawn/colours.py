"""Distances of colours for people with each kind of colour vision, and contrasts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

NORMAL: Final = "normal"
VISIONS: Final[dict[str, tuple[tuple[float, float, float], ...]]] = {
    NORMAL: ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
"""Vision -> matrix on linear RGB: Machado, Oliveira and Fernandes (2009), at full severity."""
_LMS: Final = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_OKLAB: Final = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
"""From the cube roots of `_LMS` to Oklab: Ottosson (2020)."""
_LUMINANCE: Final = (0.2126, 0.7152, 0.0722)

Triple = tuple[float, float, float]


def seen(colour: str, vision: str) -> Triple:
    """Return a colour "#rrggbb" in linear RGB, as people with a vision see it."""
    return _clipped(_times(VISIONS[vision], _linear(colour)))


def distance(one: str, other: str, vision: str = NORMAL) -> float:
    """Return how far apart two colours are for a vision: Euclidean in Oklab, from 0 to about 1."""
    return math.dist(_oklab(seen(one, vision)), _oklab(seen(other, vision)))


def worst(one: str, other: str) -> tuple[float, str]:
    """Return the smallest distance of two colours over all visions, and that vision.

    >>> worst("#d00000", "#008000")[1]
    'deuteranopia'
    """
    return min((distance(one, other, vision), vision) for vision in VISIONS)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, as WCAG 2 defines it.

    >>> contrast("#000000", "#ffffff")
    21.0
    """
    dark, light = sorted(_luminance(colour) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    return sum(weight * part for weight, part in zip(_LUMINANCE, _linear(colour), strict=True))


def _linear(colour: str) -> Triple:
    """Return the linear parts of "#rgb" or "#rrggbb"."""
    digits = colour.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    if len(digits) != 6:
        raise ValueError(f"{colour!r} is no colour of the form #rrggbb")
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return red, green, blue


def _oklab(linear: Triple) -> Triple:
    first, second, third = _times(_LMS, linear)
    return _times(_OKLAB, (math.cbrt(first), math.cbrt(second), math.cbrt(third)))


def _times(matrix: Sequence[Sequence[float]], vector: Triple) -> Triple:
    first, second, third = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return first, second, third


def _clipped(linear: Triple) -> Triple:
    red, green, blue = (min(1.0, max(0.0, part)) for part in linear)
    return red, green, blue
