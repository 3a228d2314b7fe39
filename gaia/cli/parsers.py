"""Parser of the command line: the commands, their order and their options; imports nothing that is slow."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.cli import backup, commands, database, machine, upgrade
from gaia.cli.arguments import (
    RUN_HELP,
    SHELLS,
    add_bundle_options,
    add_last_option,
    add_place_options,
    add_plot_options,
    add_run_options,
    add_runbook_options,
    add_site_options,
    add_watch_option,
    at_least_one,
)
from gaia.cli.logs import options as log_options
from gaia.cli.watch import add_watch
from gaia.validator.utils.version import add_version_option

if TYPE_CHECKING:
    from gaia.cli.source import Source

    Command = Callable[[Source, argparse.Namespace], int]
    Plain = Callable[[argparse.Namespace], int]
    Group = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

_DESCRIPTION = (
    "Command line of the validator: shows, recomputes and draws what its database holds."
    " It changes no settings. It changes the database only by `gaia db migrate`, `rollback` and `import-original`, and by"
    " `gaia backup restore`. It writes the files that a command names, and sends messages if told to."
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands and their options.

    A parsed command has either ``command``, which is given an open database, or ``without_source``.
    """
    top = argparse.ArgumentParser(prog="gaia", description=_DESCRIPTION)
    add_version_option(top)
    top_level = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_watch_option(_plain(top_level, "status", commands.status))
    _add_runs(top_level)
    _add_weights(top_level)
    _add_scores(top_level)
    _add_replay(top_level)
    _add_what_if(top_level)
    _add_explain(top_level)
    add_plot_options(_reading(top_level, "plot", commands.plot))
    database.add_parsers(top_level)
    backup.add_parsers(top_level)
    upgrade.add_parsers(top_level)
    machine.add_parsers(top_level)
    _add_tools(top_level)
    return top


def _add_runs(top_level: Group) -> None:
    runs = _reading(top_level, "runs", commands.runs).add_subparsers(metavar="COMMAND")
    add_run_options(_reading(runs, "show", commands.run))


def _add_weights(top_level: Group) -> None:
    weights = _group(top_level, "weights", "Preview, list or verify weights.")
    _reading(weights, "preview", commands.weights_preview)
    add_last_option(_reading(weights, "history", commands.weights_history), 20)
    verify = _reading(weights, "verify", commands.weights_verify)
    add_last_option(verify, 20)
    verify.add_argument("--hotkey", metavar="SS58", help="hotkey to look at; default: the validator's own")
    consensus = _reading(top_level, "consensus", commands.consensus)
    consensus.add_argument("--hotkey", metavar="SS58", help="validator to look at; default: our own")
    consensus.add_argument(
        "--days", type=at_least_one, default=7, metavar="N", help="newest days to list; default: 7"
    )


def _add_scores(top_level: Group) -> None:
    scores = _group(top_level, "scores", "List or compare scores.")
    add = _reading(scores, "list", commands.scores).add_argument
    add("runs", nargs="*", metavar="RUN", help=RUN_HELP + "; default: last")
    add("--rule-set", metavar="NAME", help="only this rule set; default: all")
    add = _reading(scores, "compare", commands.compare).add_argument
    add("--active", metavar="NAME", help="first rule set; default: GAIA_RULE_SET")
    add("--shadow", metavar="NAME", help="second rule set; default: the only other one that scored")


def _add_replay(top_level: Group) -> None:
    add = _reading(top_level, "replay", commands.replay).add_argument
    add("runs", nargs="+", metavar="RUN", help=RUN_HELP)
    add("--diff", action="store_true", help="show every value that differs")
    add("--workers", type=at_least_one, metavar="N", help="number of processes; default: one per core")


def _add_what_if(top_level: Group) -> None:
    add = _reading(top_level, "what-if", commands.what_if).add_argument
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="setting as in .env, such as GAIA_BURN_FRACTION=0.5; may be repeated",
    )
    add("--rule-set", metavar="NAME", help="rule set; the same as --set GAIA_RULE_SET=NAME")
    add(
        "--workers",
        type=at_least_one,
        metavar="N",
        help="number of processes that measure kept forecasts again; default: one per core",
    )


def _add_explain(top_level: Group) -> None:
    add = _reading(top_level, "explain", commands.explain).add_argument
    add("run", metavar="RUN", help=RUN_HELP)
    add("miner", metavar="MINER", help="uid, hotkey or the start of a hotkey")
    add("--rule-set", metavar="NAME", help="rule set to explain; default: the run's")
    add("--lead", type=int, metavar="H", help="show only this lead, in hours")


def _add_tools(top_level: Group) -> None:
    """Add the commands that need no open database."""
    add_watch(top_level)
    log_options.add_options(_plain(top_level, "logs", commands.logs))
    add_runbook_options(_plain(top_level, "runbook", commands.runbook))
    debug = _group(top_level, "debug", "Collect what explains a problem.")
    add_bundle_options(_plain(debug, "bundle", commands.debug_bundle))
    export = _group(top_level, "export", "Write what others may read.")
    add_site_options(_plain(export, "site", commands.export_site))
    weights = _reading(export, "weights", commands.export_weights)
    weights.add_argument("folder", type=Path, metavar="DIR", help="folder that gets one file per vector")
    add_last_option(weights, 20)
    shell = _plain(top_level, "completion", commands.completion)
    shell.add_argument("shell", choices=SHELLS, help="shell to complete in")


def _group(top_level: Group, name: str, sentence: str) -> Group:
    """Add a command that has only commands of its own."""
    return top_level.add_parser(name, help=sentence).add_subparsers(required=True, metavar="COMMAND")


def _reading(group: Group, name: str, command: Command) -> argparse.ArgumentParser:
    """Add a command that reads an open database."""
    added = _added(group, name, command.__doc__)
    added.set_defaults(command=command)
    return added


def _plain(group: Group, name: str, plain: Plain) -> argparse.ArgumentParser:
    """Add a command that opens a database by itself, or needs none."""
    added = _added(group, name, plain.__doc__)
    added.set_defaults(without_source=plain)
    return added


def _added(group: Group, name: str, sentence: str | None) -> argparse.ArgumentParser:
    text = (sentence or "").strip()
    added = group.add_parser(name, help=text, description=text)
    add_place_options(added)
    added.add_argument("--json", action="store_true", help="print one JSON value")
    return added
