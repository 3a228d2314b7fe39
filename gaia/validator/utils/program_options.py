"""Options that several programs share; loads nothing that is slow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_env_file_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--env-file``, which names the file of settings."""
    parser.add_argument(
        "--env-file",
        type=Path,
        metavar="FILE",
        help="file of settings; relative paths count from its folder; default: .env",
    )
