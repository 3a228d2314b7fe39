"""Parsers of the commands that need no database: doctor, config, budget and notify."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from gaia.cli.arguments import add_place_options, at_least_one
from gaia.validator.utils.version import add_env_file_option

Command = Callable[[argparse.Namespace], int]


def add_parsers(top_level: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to those of `gaia`."""
    examining = _add(top_level, "doctor", doctor)
    add_env_file_option(examining)
    add = examining.add_argument
    add("--all", action="store_true", help="also print what is well and what was skipped")
    add("--only", action="append", metavar="GROUP", help="examine this group only; may be repeated")
    add("--patience", type=float, metavar="S", help="seconds for all answers together; default: 8")
    config = top_level.add_parser("config", help="Show the settings.").add_subparsers(
        required=True, metavar="COMMAND"
    )
    showing = _add(config, "show", config_show)
    add_env_file_option(showing)
    add = showing.add_argument
    add("--effective", action="store_true", help="the values in force; the default")
    add("--origin", action="store_true", help="also print where each value comes from")
    add("--running", action="store_true", help="beside those that the running validator uses")
    add("--diff", action="store_true", help="only what differs from the default, or from --running")
    messages = top_level.add_parser("notify", help="Try the messages of the validator.").add_subparsers(
        required=True, metavar="COMMAND"
    )
    add_env_file_option(_add(messages, "test", notify_test))
    costs = _add(top_level, "budget", budget)
    add_place_options(costs)
    costs.add_argument(
        "--miners", type=at_least_one, metavar="N", help="default: those that the newest run asked, else 256"
    )


def doctor(arguments: argparse.Namespace) -> int:
    """Print what is wrong with settings and machine, each with its fix; exit 1: warnings, 2: failures."""
    from gaia.cli.machine import examining

    return examining.doctor(arguments)


def config_show(arguments: argparse.Namespace) -> int:
    """Print the settings in force, without secrets; exit 1 if --running --diff finds a difference."""
    from gaia.cli.machine import showing

    return showing.show(arguments)


def notify_test(arguments: argparse.Namespace) -> int:
    """Send one message to every address of GAIA_NOTIFY_URLS; exit 1 if one did not take it."""
    from gaia.cli.machine import notifying

    return notifying.send_test(arguments)


def budget(arguments: argparse.Namespace) -> int:
    """Print expected and used bytes, requests to the Climate Data Store, disk and CPU time."""
    from gaia.cli.machine import budgeting

    return budgeting.budget(arguments)


def _add(
    group: argparse._SubParsersAction[argparse.ArgumentParser], name: str, command: Command
) -> argparse.ArgumentParser:
    text = (command.__doc__ or "").strip()
    added = group.add_parser(name, help=text, description=text)
    added.add_argument("--json", action="store_true", help="print one JSON value")
    added.set_defaults(without_source=command)
    return added
