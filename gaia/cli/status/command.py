"""The command status: one picture, one JSON object, or a picture that is drawn again and again."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from gaia.cli import tables
from gaia.cli.source import open_source
from gaia.cli.status.observing import observe
from gaia.cli.status.report import StatusReport
from gaia.cli.status.screen import lines_of
from gaia.validator.core.status.troubles import Health, health_of, troubles_of

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.core.status.facts import Facts
    from gaia.validator.core.status.troubles import Trouble

_COMMAND = "gaia "


def status(arguments: argparse.Namespace) -> int:
    """Print the status of a validator; return its health as the exit code."""
    if arguments.watch is not None:
        return _watch(arguments)
    facts = observe(open_source(arguments.state, arguments.env_file), may_start_database=True)
    troubles = addressed(troubles_of(facts), place_of(arguments))
    if arguments.json:
        tables.print_json(StatusReport.of(facts, troubles))
    else:
        tables.print_lines(*lines_of(facts, troubles, tables.output_width()))
    return int(health_of(troubles))


def _watch(arguments: argparse.Namespace) -> int:
    """Draw the status anew every `arguments.watch` seconds; Ctrl-C ends it and leaves the last picture."""
    console = Console()
    try:
        # The place is found once, because a note about it would appear in every picture.
        source = open_source(arguments.state, arguments.env_file)
        if console.is_terminal and not arguments.json:
            _redraw(console, source, arguments.watch, place_of(arguments))
        while True:
            facts, troubles = _look(source, place_of(arguments))
            if arguments.json:
                tables.print_json_line(StatusReport.of(facts, troubles))
            else:
                print(*lines_of(facts, troubles, None), "", sep="\n", flush=True)
            time.sleep(arguments.watch)
    except KeyboardInterrupt:
        return int(Health.WELL)


def _redraw(console: Console, source: Source, every_s: float, place: str) -> None:
    # Only what changed is written, so that nothing flickers; the last picture stays on the screen.
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            facts, troubles = _look(source, place)
            picture = Text(
                "\n".join(lines_of(facts, troubles, console.width)), no_wrap=True, overflow="ignore"
            )
            live.update(picture, refresh=True)
            time.sleep(every_s)


def _look(source: Source, place: str) -> tuple[Facts, list[Trouble]]:
    """Observe once; the database of a stopped validator is not started, because that would keep it from starting."""
    facts = observe(source, may_start_database=False)
    return facts, addressed(troubles_of(facts), place)


def place_of(arguments: argparse.Namespace) -> str:
    """Return the option that named the validator, as it is written in a shell; "": none did."""
    for option, path in (("--state", arguments.state), ("--env-file", arguments.env_file)):
        if path is not None:
            return f"{option} {shlex.quote(str(path))}"
    return ""


def addressed(troubles: Sequence[Trouble], place: str) -> list[Trouble]:
    """Return the troubles with commands that look at the same validator, if `place` names it."""
    if not place:
        return list(troubles)
    return [
        replace(trouble, remedy=f"{trouble.remedy} {place}")
        if trouble.remedy.startswith(_COMMAND)
        else trouble
        for trouble in troubles
    ]
