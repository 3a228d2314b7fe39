"""Settings in sections: what each one holds, and who takes all of them."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from gaia.validator.utils.config import SECTIONS, Settings
from gaia.validator.utils.setting_sources import HandedSettings
from gaia.validator.utils.settings.database import DatabaseSettings
from gaia.validator.utils.settings.pool import PoolSettings
from tests.support.repository import ROOT


def test_every_setting_is_in_one_section_and_in_the_order_of_the_sections() -> None:
    assert [name for section in SECTIONS for name in section.model_fields] == list(Settings.model_fields)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_is_read_alone_and_holds_what_all_settings_hold(section: type[HandedSettings]) -> None:
    settings = Settings(
        netuid=3,
        burn_fraction=0.5,
        data_dir=Path("elsewhere"),
        log_level="debug",  # type: ignore[arg-type] # its case does not matter
    )
    name = section.__module__.rpartition(".")[2]

    part = getattr(settings, name)

    assert type(part) is section
    assert part.model_dump() == {field: getattr(settings, field) for field in section.model_fields}
    assert part.model_fields_set == settings.model_fields_set & set(section.model_fields)
    assert section().model_dump() == getattr(Settings(), name).model_dump()


@pytest.mark.parametrize("section", SECTIONS)
def test_no_section_can_be_changed_or_misspelt(section: type[HandedSettings]) -> None:
    name = next(iter(section.model_fields))

    with pytest.raises(ValidationError, match="frozen"):
        setattr(section(), name, None)
    with pytest.raises(ValidationError, match="misspelt"):
        section.model_validate({"misspelt": 1})


def test_a_section_refuses_what_the_settings_refuse() -> None:
    with pytest.raises(ValidationError, match="below GAIA_WORKER_SOFT_LIMIT_MIB"):
        PoolSettings(worker_hard_limit_mib=300)


def test_signer_is_handed_no_password_and_no_key() -> None:
    settings = Settings.model_validate(
        {"database_url": "postgresql://me:hush@db/x", "database_password": "hush", "cds_key": "hush"}
    )

    assert b"hush" in pickle.dumps(settings)
    assert b"hush" not in pickle.dumps(settings.signer)


def test_only_functions_with_a_reason_are_handed_all_settings() -> None:
    taking = [
        f"{path.relative_to(ROOT)}:{function.name}"
        for path in sorted((ROOT / "gaia").rglob("*.py"))
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for argument in [*function.args.args, *function.args.kwonlyargs]
        if "Settings" in ast.unparse(argument.annotation or ast.Constant(None)).split(" | ")
    ]

    assert (
        taking
        == [
            "gaia/cli/source.py:__init__",  # the opened source: each command takes its sections from there
            "gaia/cli/whatif/changes.py:change_of",  # a change may name any setting that weights depend on
            "gaia/validator/app/io_engine.py:run_io_engine",  # starts the process: its parts are handed sections
            "gaia/validator/app/io_engine.py:__init__",  # builds those parts, and publishes all settings
            "gaia/validator/app/startup/opening.py:dsn_of",  # the address depends on two sections, as what follows does
            "gaia/validator/app/startup/opening.py:open_database",
            "gaia/validator/app/startup/opening.py:backup_keeper",
            "gaia/validator/app/startup/options.py:supervisor_options",  # pickles them for the IO-Engine
            "gaia/validator/app/startup/reload.py:merge",  # compares them all: it is handed none for its own use
        ]
    )


@pytest.mark.parametrize(
    ("given", "dsn"),
    [
        ({}, "embedded"),
        ({"database_url": "postgresql://db/x", "database_host": "ignored"}, "postgresql://db/x"),
        (
            {"database_host": "db", "database_user": "a b", "database_password": "p@ss/w:rd"},
            "postgresql://a%20b:p%40ss%2Fw%3Ard@db:5432/validator_db",
        ),
    ],
)
def test_address_of_the_database_is_the_url_or_the_parts_or_the_embedded_server(
    given: dict[str, str], dsn: str
) -> None:
    settings = DatabaseSettings.model_validate(given)

    assert settings.dsn("embedded") == dsn
    assert settings.is_embedded is (dsn == "embedded")
