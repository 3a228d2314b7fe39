"""What this release makes of the settings that are given, and of those that the earlier one used."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from gaia.cli.source import Source, open_source
from gaia.cli.upgrade.findings import SettingNote
from gaia.validator.app.startup.accepted import accepted_settings
from gaia.validator.app.startup.published import last_settings
from gaia.validator.app.startup.reading import named_file
from gaia.validator.utils.config import RETIRED, Settings, names_of, names_refused, variable_of

if TYPE_CHECKING:
    import argparse

    from gaia.validator.app.startup.published import PublishedSettings
    from gaia.validator.utils.errors import ConfigurationError

Given = Mapping[str, Mapping[str, str | None]]
"""Place -> variables that are written there."""


def opened(arguments: argparse.Namespace) -> tuple[Source, list[ConfigurationError], Given]:
    """Return the validator's data, the settings that this release refuses, and those that are written.

    With ``--state``, the settings are those that the last start on that folder published.

    Raises
    ------
    ConfigurationError
        If there is no database in the folder, or no such file of settings.
    """
    if arguments.state is not None:
        source = open_source(arguments.state)
        last = last_settings(source.data_dir)
        given: Given = {} if last is None else {f"the last start on {source.data_dir}": last.given()}
        refused = [error for where, variables in given.items() for error in names_refused(variables, where)]
        return source, refused, given
    accepted = accepted_settings(named_file(arguments.env_file))
    if accepted.refused:
        return Source(accepted.settings), list(accepted.refused), accepted.given
    # Without a setting that names a folder, this may choose a rehearsal.
    return open_source(None, arguments.env_file), [], accepted.given


def notes(given: Given, last: PublishedSettings | None, refused: Collection[str]) -> Iterator[SettingNote]:
    """Yield what is worth to know about the settings, though nothing must be done.

    Parameters
    ----------
    last
        Settings of the last start on the data folder; None if unknown.
    refused
        Variables that this release refuses, which are told elsewhere.
    """
    written = {variable for variables in given.values() for variable, value in variables.items() if value}
    for variable in sorted(RETIRED & written):
        yield SettingNote(name=variable, note="has no meaning any more, and is ignored")
    for name in Settings.model_fields:
        ours, *others = names_of(name)
        for alias in sorted(written & set(others)):
            yield SettingNote(name=alias, note=f"works; {ours} is its name here")
    if last is not None:
        yield from _since(last, refused)


def _since(last: PublishedSettings, refused: Collection[str]) -> Iterator[SettingNote]:
    """Yield the settings of the last start that this release does not have, or gives another default."""
    known = {variable_of(name) for name in Settings.model_fields}
    for variable in sorted(last.given().keys() - known - set(refused)):
        yield SettingNote(name=variable, note="was in force at the last start, and is no setting any more")
    defaults = {name: value for name, value, _ in Settings().describe()}
    for variable, value in last.defaults().items():
        if variable in known and defaults[variable] != value:
            yield SettingNote(
                name=variable,
                note=f"has the default {defaults[variable] or 'nothing'}; it was {value or 'nothing'}",
            )
