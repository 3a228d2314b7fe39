"""How a database fits this program is decided from its record and its tables, and said in one sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gaia.validator.db.schema.files import Migration
from gaia.validator.db.schema.standing import MISFITS, Applied, Fit, standing_of
from gaia.validator.utils.errors import ConfigurationError, ExitCode

MIGRATIONS = [Migration(version, f"step{version}", f"-- {version}") for version in (1, 2, 3)]
RECORD = [Applied(each.version, each.name, each.sha256) for each in MIGRATIONS]
LATER = Applied(4, "later", "ab")


def test_database_without_tables_lacks_all_migrations() -> None:
    assert standing_of(MIGRATIONS, None, ()).missing == tuple(MIGRATIONS)
    assert standing_of(MIGRATIONS, [], ["schema_migrations"]).fit is Fit.EMPTY


def test_database_of_an_earlier_release_lacks_the_rest() -> None:
    standing = standing_of(MIGRATIONS, RECORD[:1], ["runs"])

    assert (standing.fit, standing.missing) == (Fit.BEHIND, tuple(MIGRATIONS[1:]))
    standing.require_fit()


def test_database_with_all_migrations_is_current() -> None:
    standing = standing_of(MIGRATIONS, RECORD, ["runs"])

    assert (standing.fit, standing.missing) == (Fit.CURRENT, ())
    standing.require_fit()


@pytest.mark.parametrize(
    ("applied", "tables", "fit", "sentence"),
    [
        (
            [*RECORD, LATER],
            ["runs"],
            Fit.NEWER,
            "it has 4 (later); this program knows 3 … `gaia db rollback`",
        ),
        ([RECORD[0], replace(RECORD[1], sha256="x")], ["runs"], Fit.ALTERED, "migration 2 in a form"),
        ([*RECORD[:1], RECORD[2]], ["runs"], Fit.DAMAGED, "it lacks 2 … restore a backup"),
        ([RECORD[0], LATER], ["runs"], Fit.DAMAGED, "it lacks 2, 3"),
        ([], ["runs", "schema_migrations"], Fit.DAMAGED, "it lacks runs"),
        (None, ["films"], Fit.FOREIGN, "such as films … name an empty database"),
        (
            None,
            ["score_table", "weather_forecast_runs"],
            Fit.ORIGINAL,
            "weather_forecast_runs … name an empty database, and bring its scores over with `gaia db import-original`",
        ),
    ],
)
def test_misfit_is_one_sentence_that_says_what_helps(
    applied: list[Applied] | None, tables: list[str], fit: Fit, sentence: str
) -> None:
    standing = standing_of(MIGRATIONS, applied, tables)

    assert (standing.fit, standing.missing) == (fit, ())
    with pytest.raises(ConfigurationError) as caught:
        standing.require_fit()
    assert caught.value.exit_code is ExitCode.DATABASE_MISFIT
    for part in sentence.split(" … "):
        assert part in str(caught.value)


def test_every_misfit_has_a_sentence() -> None:
    assert set(Fit) - {Fit.EMPTY, Fit.BEHIND, Fit.CURRENT} == MISFITS
