"""Parser of the command that looks ahead: what a new release will change on an operator's data."""

from __future__ import annotations

import argparse

from gaia.cli.arguments import add_place_options


def add_parsers(top_level: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to those of `gaia`."""
    group = top_level.add_parser("upgrade", help="Look ahead to a new release.").add_subparsers(
        required=True, metavar="COMMAND"
    )
    text = (plan.__doc__ or "").strip()
    added = group.add_parser("plan", help=text, description=text)
    add_place_options(added)
    added.add_argument(
        "--from",
        dest="earlier",
        metavar="RELEASE",
        help="version or commit that you come from; default: the last one that ran on this data folder",
    )
    added.add_argument("--json", action="store_true", help="print one JSON value")
    added.set_defaults(without_source=plan)


def plan(arguments: argparse.Namespace) -> int:
    """Print what this release will change on your data, before you start it; exit code 1 if something needs you."""
    from gaia.cli.upgrade import command

    return command.plan(arguments)
