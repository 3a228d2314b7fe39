"""The command config show: the settings in force, where they come from, and what differs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gaia.cli import tables
from gaia.validator.app.startup.published import published_settings
from gaia.validator.app.startup.reading import named_file, read_settings, sources_of
from gaia.validator.app.startup.reload import RELOADABLE
from gaia.validator.utils.config import PREFIX, Settings, variable_of
from gaia.validator.utils.errors import GaiaError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingShown:
    """One setting; its fields are the members of the objects that `--json` prints."""

    name: str
    value: str
    """Value that a validator started now would use."""
    origin: str
    default: str
    running: str | None = None
    """Value of the running validator; None: not asked for."""
    takes_effect: str = ""
    """When `value` replaces `running`: "", "reload" or "restart"."""


def show(arguments: argparse.Namespace) -> int:
    """Print the settings; exit code 1 if `--running --diff` finds a difference."""
    env_file = named_file(arguments.env_file)
    settings = read_settings(env_file)
    if arguments.origin:
        tables.print_note(sources_of(env_file))
    running = _running(settings.data_dir) if arguments.running else None
    rows = _rows(settings.describe(), running)
    if arguments.diff:
        rows = [row for row in rows if _differs(row)]
    if arguments.json:
        tables.print_json(rows)
    elif arguments.running:
        _print_running(rows, is_diff=arguments.diff)
    else:
        _print_effective(rows, with_origin=arguments.origin, with_default=arguments.diff)
    return 1 if arguments.running and arguments.diff and rows else 0


def _running(data_dir: Path) -> dict[str, str]:
    """Return the values of the running validator by name.

    Raises
    ------
    GaiaError
        If no validator runs on the data folder.
    """
    published = published_settings(data_dir)
    if published is None:
        raise GaiaError(f"no validator runs on {data_dir.absolute()}")
    since = datetime.fromtimestamp(published.at, UTC)
    tables.print_note(f"process {published.pid} uses these settings since {since:%Y-%m-%d %H:%M:%SZ}")
    # Its settings were found in this folder, whatever it is called from the folder in which the validator runs.
    return {name: value for name, value, _ in published.rows} | {variable_of("data_dir"): str(data_dir)}


def _rows(described: Sequence[tuple[str, str, str]], running: dict[str, str] | None) -> list[SettingShown]:
    """Return the settings that are described as (name, value, origin), beside the running ones."""
    defaults = {name: value for name, value, _ in Settings().describe()}
    rows = []
    for name, value, origin in described:
        there = running.get(name, "") if running is not None else None
        changed = there is not None and there != value
        is_reloadable = name.removeprefix(PREFIX).lower() in RELOADABLE
        rows.append(
            SettingShown(
                name=name,
                value=value,
                origin=origin,
                default=defaults[name],
                running=there,
                takes_effect=("reload" if is_reloadable else "restart") if changed else "",
            )
        )
    return rows


def _differs(row: SettingShown) -> bool:
    return row.value != (row.default if row.running is None else row.running)


def _print_running(rows: Sequence[SettingShown], *, is_diff: bool) -> None:
    if is_diff and not rows:
        tables.print_lines("the running validator uses the settings of the file and the environment")
        return
    columns = ("setting", "running", "now", "takes effect", "origin")
    cells = [(row.name, row.running, row.value, row.takes_effect, row.origin) for row in rows]
    _print(columns, cells)


def _print_effective(rows: Sequence[SettingShown], *, with_origin: bool, with_default: bool) -> None:
    if with_default and not rows:
        tables.print_lines("every setting has its default")
        return
    columns = ["setting", "value"]
    columns += ["default"] if with_default else []
    columns += ["origin"] if with_origin else []
    cells = [
        [
            *(row.name, row.value),
            *([row.default] if with_default else []),
            *([row.origin] if with_origin else []),
        ]
        for row in rows
    ]
    _print(columns, cells)


def _print(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print aligned columns; nothing is cut, and a long value moves only its own line."""
    widths = [
        max([len(columns[place]), *(min(len(str(row[place])), 60) for row in rows)])
        for place in range(len(columns))
    ]
    lines = [columns, *rows]
    tables.print_lines(
        *(
            "  ".join(f"{cell!s:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )
    )
