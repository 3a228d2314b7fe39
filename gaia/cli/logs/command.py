"""The command logs: the newest lines of a validator's log files, or those to come."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.cli.logs.files import ends_of, follow, last_lines
from gaia.cli.logs.lines import Line, Wanted, console_form
from gaia.cli.select import NotThere
from gaia.cli.source import open_source

if TYPE_CHECKING:
    from gaia.cli.source import Source


def logs(arguments: argparse.Namespace) -> int:
    """Print log lines, the oldest first."""
    wanted = Wanted(
        level=arguments.level,
        run=arguments.run,
        miner=arguments.miner,
        role=arguments.role,
        event=arguments.event,
        since=arguments.since,
    )
    folder = arguments.dir or folder_of(open_source(arguments.state, arguments.env_file))
    try:
        ends = ends_of(folder)
        found = last_lines(folder, wanted, arguments.last, ends)
        _print(found, as_json=arguments.json)
        if not arguments.follow:
            if not found:
                raise NotThere(f"no line in {folder} meets these conditions")
            return 0
        with closing(follow(folder, wanted, ends)) as batches:
            for lines in batches:
                _print(lines, as_json=arguments.json)
    except FileNotFoundError as error:
        raise NotThere(f"there are no log files in {folder}; see GAIA_LOG_DIR") from error
    except KeyboardInterrupt:
        return 0
    return 0


def folder_of(source: Source) -> Path:
    """Return the folder of the log files of a validator; in a rehearsal that of all its processes.

    Raises
    ------
    NotThere
        If there is no such folder.
    """
    chosen = source.settings.log_dir
    rehearsal = source.data_dir.parent
    of_rehearsal = [rehearsal / "logs"] if (rehearsal / "options.json").is_file() else []
    places = [chosen] if chosen else [*of_rehearsal, source.data_dir / "logs"]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise NotThere(
            f"there are no log files in {places[-1]}; set GAIA_LOG_DIR, or name a folder with --dir"
        )
    return found


def _print(lines: Sequence[Line], *, as_json: bool) -> None:
    for line in lines:
        if not as_json:
            print(console_form(line), flush=True)
        elif line.values is not None:
            print(line.raw, flush=True)
