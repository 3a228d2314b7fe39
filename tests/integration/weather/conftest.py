"""A shelf of reference fields for the tests of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaia.validator.db.connection import Database
from tests.support.shelf_world import World


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    return World(database, tmp_path.resolve())
