"""One file or folder, as it was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file or folder."""

    path: Path
    mode: int
    """Permission bits."""
    uid: int
    size: int
    is_folder: bool
