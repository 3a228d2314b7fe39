"""Versions of the chain's runtime that this release is tested with."""

from __future__ import annotations

from typing import Final

TESTED_SPECS: Final = (461, 461)
"""Oldest and newest `specVersion`: those whose metadata the local chain and the tests use."""
