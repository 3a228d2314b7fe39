"""Where fields lie in a store, and how large its files may be."""

from __future__ import annotations

import pytest

from gaia.tasks.defined_tasks.weather.validator.reading.chunks import METADATA_MAX_BYTES, Contract
from gaia.tasks.defined_tasks.weather.variables import GRIDS
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_max_bytes, file_max_bytes


@pytest.mark.parametrize("grid", GRIDS)
def test_what_is_fetched_is_limited_as_what_is_read(grid):
    contract = Contract(grid=grid, steps=40, step_hours=6)

    assert chunk_max_bytes(grid) == file_max_bytes("z/39.12.0.0", grid) == contract.chunk_max_bytes
    assert file_max_bytes("z/.zarray", grid) == METADATA_MAX_BYTES
