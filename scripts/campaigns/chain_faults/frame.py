"""The common frame of campaigns that play epochs in one folder."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar


class _Shown(Protocol):
    def answer(self, seconds: float) -> dict[str, Any]:
        """Return {figures, ratios, violations} after so many seconds."""
        ...


_Found = TypeVar("_Found", bound=_Shown)


def add_frame(parser: argparse.ArgumentParser) -> None:
    """Add the options that `played` and the campaign read."""
    parser.add_argument("--patience", type=float, default=1.0, help="all times are so many times longer (1)")
    parser.add_argument("--keep", type=Path, help="write logs below this folder, and leave them")


def played(
    campaign: Callable[[Path, argparse.Namespace, _Found], Awaitable[None]],
    arguments: argparse.Namespace,
    found: _Found,
) -> dict[str, Any]:
    """Play a campaign in the folder that `--keep` names, or in one that is removed; return what it found."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-") as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)

        async def play() -> None:
            await campaign(folder, arguments, found)

        asyncio.run(play())
    return found.answer(time.monotonic() - began)
