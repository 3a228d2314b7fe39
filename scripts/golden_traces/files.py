"""Files of golden traces: JSON with floats as their shortest exact text, compressed with xz."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaia.validator.utils.files import put_file

if TYPE_CHECKING:
    from golden_traces.comparing import Trace


class TraceUnreadable(Exception):
    """A golden trace is missing or damaged."""


def path_of(rule_set: str, folder: Path) -> Path:
    return folder / f"{rule_set}.json.xz"


def save(trace: Trace, path: Path) -> None:
    """Write a trace atomically; equal traces give equal bytes."""
    content = json.dumps(trace, sort_keys=True, separators=(",", ":")).encode()
    put_file(path, lzma.compress(content, check=lzma.CHECK_SHA256, preset=9 | lzma.PRESET_EXTREME))


def load(path: Path) -> dict[str, Any]:
    """Return the trace of a file.

    Raises
    ------
    TraceUnreadable
        If it is missing or damaged; the message says what to do.
    """
    try:
        trace = json.loads(lzma.decompress(path.read_bytes()))
    except FileNotFoundError as error:
        raise TraceUnreadable(f"{path} is missing; record it: python3 scripts/golden.py record") from error
    except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
        raise TraceUnreadable(f"{path} is damaged ({error}); take it from version control") from error
    if not isinstance(trace, dict):
        raise TraceUnreadable(f"{path} holds no trace; take it from version control")
    return trace
