"""The enums hold the words that the schema allows, and no others."""

from __future__ import annotations

import re
from enum import StrEnum

import pytest

from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.states import ForecastState, RunState, VectorState


@pytest.mark.parametrize(
    ("table", "states"), [("runs", RunState), ("forecasts", ForecastState), ("weight_journal", VectorState)]
)
def test_schema_allows_exactly_the_words_of_the_enum(table: str, states: type[StrEnum]) -> None:
    sql = re.sub(r"--.*", "", "".join(migration.sql for migration in read_migrations()))
    first = re.findall(rf"CREATE TABLE {table} .*?CHECK \(state IN \((.*?)\)\)", sql, re.DOTALL)
    later = re.findall(rf"CONSTRAINT {table}_state_check\s+CHECK \(state IN \((.*?)\)\)", sql, re.DOTALL)

    words = [*first, *later][-1]

    assert set(re.findall(r"'(\w+)'", words)) == set(states)
