"""Parsers of the commands about backups: made, listed, verified, restored and removed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from gaia.cli.arguments import add_place_options

if TYPE_CHECKING:
    from gaia.cli.source import Source

    Command = Callable[[Source, argparse.Namespace], int]
    Group = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

_NAME_HELP = 'name of a backup, as `gaia backup list` shows it, or "last"'


def add_parsers(top_level: Group) -> None:
    """Add the commands to those of `gaia`."""
    group = top_level.add_parser(
        "backup", help="Make, verify or restore backups of the database."
    ).add_subparsers(required=True, metavar="COMMAND")
    _add(group, "create", create)
    _add(group, "list", list_all)
    check = _add(group, "verify", verify).add_argument
    check("name", nargs="?", default="last", metavar="NAME", help=_NAME_HELP + "; default: last")
    check("--without-replay", action="store_true", help="do not compute a run anew")
    back = _add(group, "restore", restore, makes_cluster=True).add_argument
    back("name", metavar="NAME", help=_NAME_HELP)
    back("--yes", action="store_true", help="do it; without it, only say what would be replaced")
    away = _add(group, "discard", discard).add_argument
    away("name", metavar="NAME", help="name of a backup, or of a database that a restore has replaced")
    away("--yes", action="store_true", help="do it; without it, only say what would be removed")


def create(source: Source, arguments: argparse.Namespace) -> int:
    """Make a backup of the database; the validator may run."""
    from gaia.cli.backup import making

    return making.create(source, arguments)


def list_all(source: Source, arguments: argparse.Namespace) -> int:
    """List the backups, and the databases that restores have replaced."""
    from gaia.cli.backup import making

    return making.list_all(source, arguments)


def verify(source: Source, arguments: argparse.Namespace) -> int:
    """Restore a backup beside the database, compare it with what was saved, and compute a run of it anew; exit code 1 if it differs."""
    from gaia.cli.backup import verifying

    return verifying.verify(source, arguments)


def restore(source: Source, arguments: argparse.Namespace) -> int:
    """Put a backup in the place of the database, which stays under another name; no validator may use it."""
    from gaia.cli.backup import restoring

    return restoring.restore(source, arguments)


def discard(source: Source, arguments: argparse.Namespace) -> int:
    """Remove a backup, or a database that a restore has replaced."""
    from gaia.cli.backup import restoring

    return restoring.discard(source, arguments)


def _add(group: Group, name: str, command: Command, **defaults: bool) -> argparse.ArgumentParser:
    text = (command.__doc__ or "").strip()
    added = group.add_parser(name, help=text, description=text)
    add_place_options(added)
    added.add_argument("--json", action="store_true", help="print one JSON value")
    added.set_defaults(command=command, **defaults)
    return added
