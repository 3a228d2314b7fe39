"""Scoring against its peers."""

from __future__ import annotations

import argparse
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"ratios": {}, "figures": {}}
