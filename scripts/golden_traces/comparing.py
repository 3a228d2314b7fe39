"""Compares two traces to the last bit, and describes each difference in one line."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Trace = Mapping[str, Any]
"""Tree of mappings with text keys; a leaf is a number, a text, a boolean, None or a list."""

SHOWN: Final = 40
_LONGEST_VALUE: Final = 120


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = _Absent()
"""Marks a value that one of two traces lacks."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between two traces."""

    path: tuple[str, ...]
    before: Any
    """Earlier value; `ABSENT`: only the later trace has it."""
    after: Any
    """Later value; `ABSENT`: only the earlier trace has it."""

    def line(self) -> str:
        """Return path, value before and value after, in one line."""
        line = f"{' / '.join(self.path)}: {_shown(self.before)} -> {_shown(self.after)}"
        apart = numbers_between(self.before, self.after)
        return line if apart is None else f"{line} ({apart} representable numbers apart)"


def differences(before: Trace, after: Trace, path: tuple[str, ...] = ()) -> Iterator[Difference]:
    """Yield every different leaf in order of the paths; a missing subtree is yielded once."""
    for key in sorted({*before, *after}):
        old, new = before.get(key, ABSENT), after.get(key, ABSENT)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, (*path, key))
        elif not _same(old, new):
            yield Difference((*path, key), old, new)


def leaves(trace: Any) -> int:
    """Return the number of values in a trace."""
    return sum(leaves(value) for value in trace.values()) if isinstance(trace, Mapping) else 1


def lines_of(found: Sequence[Difference], most: int = SHOWN) -> list[str]:
    """Return a line for each of the first `most` differences, and one with the number of others by section."""
    lines = [difference.line() for difference in found[:most]]
    rest = Counter(difference.path[0] for difference in found[most:])
    if rest:
        counts = ", ".join(f"{count} in {section}" for section, count in sorted(rest.items()))
        lines.append(f"and {rest.total()} more: {counts}")
    return lines


def numbers_between(one: Any, other: Any) -> int | None:
    """Return the distance between two float64 in steps; None if either is not a finite float.

    >>> numbers_between(0.5, 0.5000000000000001)
    1
    """
    if not (isinstance(one, float) and isinstance(other, float)):
        return None
    if not (math.isfinite(one) and math.isfinite(other)):
        return None
    return abs(_place(one) - _place(other))


def _place(number: float) -> int:
    """Return the position of a float among all floats; the two zeros are neighbours."""
    (bits,) = struct.unpack("<q", struct.pack("<d", number))
    return int(bits) if bits >= 0 else -(int(bits) & 0x7FFF_FFFF_FFFF_FFFF) - 1


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("<d", one) == struct.pack("<d", other) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _shown(value: Any) -> str:
    if isinstance(value, (float, _Absent)):
        return repr(value)
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
