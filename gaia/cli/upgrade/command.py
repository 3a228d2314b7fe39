"""The command upgrade plan: it reads settings, database, backups and records of names, and changes nothing."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gaia.cli import tables
from gaia.cli.backup.making import folder_of
from gaia.cli.upgrade import given as settings_given
from gaia.cli.upgrade import report
from gaia.cli.upgrade.backups import newest_backup
from gaia.cli.upgrade.findings import NameChange, Plan, Release, Stored, actions
from gaia.cli.upgrade.names import NotCompared, changes_since
from gaia.cli.upgrade.stored import read_stored
from gaia.validator.app.startup.published import last_settings
from gaia.validator.utils.errors import GaiaError
from gaia.validator.utils.version import commit, version

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.app.startup.published import PublishedSettings

_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")


def plan(arguments: argparse.Namespace) -> int:
    """Print what this release will change; exit code 1 if something needs the operator."""
    source, refused, given = settings_given.opened(arguments)
    last = last_settings(source.data_dir)
    earlier = _earlier(arguments.earlier, last)
    stored, stored_error = _stored(source)
    changed, names_error = _names_changed(earlier)
    found = Plan(
        release=Release(version=version(), commit=commit()),
        earlier=earlier,
        stored=stored,
        stored_error=stored_error,
        settings_refused=[str(error) for error in refused],
        setting_notes=list(settings_given.notes(given, last, {error.setting for error in refused})),
        names_changed=changed,
        names_error=names_error,
        backup=newest_backup(folder_of(source)),
    )
    todo = actions(found, source.settings.rule_set)
    if arguments.json:
        tables.print_json({**asdict(found), "actions": todo})
    else:
        report.print_plan(found, todo)
    return 1 if todo else 0


def _earlier(named: str | None, last: PublishedSettings | None) -> Release:
    """Return the release that the operator names, else the last one that ran on the data folder."""
    if named is not None:
        is_commit = _COMMIT.fullmatch(named) is not None
        return Release(version="" if is_commit else named, commit=named if is_commit else "")
    if last is None:
        return Release(version="", commit="")
    return Release(version=last.version, commit=last.commit, since=datetime.fromtimestamp(last.at, UTC))


def _stored(source: Source) -> tuple[Stored | None, str]:
    """Return what the database holds, or why it cannot be read."""
    try:
        with source:
            return source.read(read_stored, is_migrated=False), ""
    except GaiaError as error:
        return None, str(error).rstrip(".")


def _names_changed(earlier: Release) -> tuple[list[NameChange], str]:
    try:
        return changes_since(earlier.commit or earlier.version), ""
    except NotCompared as error:
        return [], str(error)
