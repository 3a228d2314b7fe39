"""Parsers of the commands about the database itself: its schema, and whether what it holds is whole."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from gaia.cli.arguments import add_place_options

if TYPE_CHECKING:
    from gaia.cli.source import Source

    Command = Callable[[Source, argparse.Namespace], int]
    Group = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name


def add_parsers(top_level: Group) -> None:
    """Add the commands to those of `gaia`."""
    group = top_level.add_parser("db", help="Examine the database, or change its schema.").add_subparsers(
        required=True, metavar="COMMAND"
    )
    _add(group, "status", status)
    _add(group, "migrate", migrate)
    back = _add(group, "rollback", rollback).add_argument
    back("--to", type=int, required=True, metavar="VERSION", help="newest migration that stays")
    back("--yes", action="store_true", help="do it; without it, only say what would be taken back")
    _add(group, "verify", verify)
    over = _add(group, "import-original", import_original).add_argument
    over("url", metavar="URL", help="address of the original's database, which is only read")
    over("--yes", action="store_true", help="do it; without it, only say what would be taken over")


def status(source: Source, arguments: argparse.Namespace) -> int:
    """Print the migrations that the database has and lacks, and its largest tables; exit code 21 if it does not fit."""
    from gaia.cli.database import changing

    return changing.status(source, arguments)


def migrate(source: Source, arguments: argparse.Namespace) -> int:
    """Apply the missing migrations, as the next start would; no validator may use the database."""
    from gaia.cli.database import changing

    return changing.migrate(source, arguments)


def rollback(source: Source, arguments: argparse.Namespace) -> int:
    """Take migrations back, newest first, so that an earlier release can go on; no validator may use the database."""
    from gaia.cli.database import changing

    return changing.rollback(source, arguments)


def verify(source: Source, arguments: argparse.Namespace) -> int:
    """Print whether the schema and what it holds are whole; exit code 1 if not."""
    from gaia.cli.database import verifying

    return verifying.verify(source, arguments)


def import_original(source: Source, arguments: argparse.Namespace) -> int:
    """Take over the scores that weights are made of from the original validator; no validator may use the database."""
    from gaia.cli.database import importing

    return importing.import_original(source, arguments)


def _add(group: Group, name: str, command: Command) -> argparse.ArgumentParser:
    text = (command.__doc__ or "").strip()
    added = group.add_parser(name, help=text, description=text)
    add_place_options(added)
    added.add_argument("--json", action="store_true", help="print one JSON value")
    added.set_defaults(command=command)
    return added
