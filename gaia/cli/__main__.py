"""Command line of the validator: shows, recomputes and draws what its database holds; changes nothing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.cli import commands, machine
from gaia.cli.arguments import (
    ANY_RUN_HELP,
    RUN_HELP,
    add_bundle_options,
    add_last_option,
    add_plot_options,
    add_runbook_options,
    add_watch_option,
    at_least_one,
    is_full,
)
from gaia.cli.completion import SHELLS
from gaia.cli.logs import options as log_options
from gaia.cli.watch import add_watch
from gaia.validator.utils.errors import ConfigurationError, GaiaError
from gaia.validator.utils.version import add_version_option

if TYPE_CHECKING:
    from gaia.cli.source import Source

    Command = Callable[[Source, argparse.Namespace], int]
    Plain = Callable[[argparse.Namespace], int]
    Group = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done; 1: an error, or replay found a difference; others: `errors.ExitCode` of a bad setting.
    """
    arguments = parser().parse_args(argv)
    # Python has no standard output if the shell closed it.
    if not sys.stdout:
        print("Standard output is closed, so nothing can be printed.", file=sys.stderr)
        return 1
    try:
        return _run(arguments)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except GaiaError as error:
        print(f"{error}.", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of the pipe has closed it.
        _drop_output()
        return 0
    except OSError as error:
        if not is_full(error):
            raise
        _drop_output()
        print(f"Standard output cannot be written: {error.strerror}.", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    """Run the command; one that needs a database gets it opened."""
    if "without_source" in arguments:
        code = int(arguments.without_source(arguments))
    else:
        # Not at the top, because --help needs no database driver.
        from gaia.cli.source import open_source

        command: Command = arguments.command
        with open_source(arguments.state) as source:
            code = command(source, arguments)
    sys.stdout.flush()
    return code


def _drop_output() -> None:
    """Discard the rest of the output buffer, because the interpreter would fail on it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands and their options."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--state", type=Path, metavar="DIR", help="data folder of a rehearsal or a validator")
    shared.add_argument("--json", action="store_true", help="print one JSON value")
    top = argparse.ArgumentParser(prog="gaia", description=__doc__)
    add_version_option(top)
    top_level = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(group: Group, name: str, command: Command) -> argparse.ArgumentParser:
        added = _added(group, name, command.__doc__, [shared])
        added.set_defaults(command=command)
        return added

    def add_plain(group: Group, name: str, plain: Plain) -> argparse.ArgumentParser:
        """Add a command that opens a database by itself, or needs none."""
        added = _added(group, name, plain.__doc__, [shared])
        added.set_defaults(without_source=plain)
        return added

    add_watch_option(add_plain(top_level, "status", commands.status))
    runs = add(top_level, "runs", commands.runs).add_subparsers(metavar="COMMAND")
    add(runs, "show", commands.run).add_argument("run", metavar="RUN", help=ANY_RUN_HELP)
    weights = top_level.add_parser("weights", help="Preview or list weights.").add_subparsers(
        required=True, metavar="COMMAND"
    )
    add(weights, "preview", commands.weights_preview)
    add_last_option(add(weights, "history", commands.weights_history), 20)
    scores = top_level.add_parser("scores", help="List or compare scores.").add_subparsers(
        required=True, metavar="COMMAND"
    )
    listing = add(scores, "list", commands.scores)
    listing.add_argument("runs", nargs="*", metavar="RUN", help=RUN_HELP + "; default: last")
    listing.add_argument("--rule-set", metavar="NAME", help="only this rule set; default: all")
    comparison = add(scores, "compare", commands.compare)
    comparison.add_argument("--active", metavar="NAME", help="first rule set; default: GAIA_RULE_SET")
    comparison.add_argument(
        "--shadow", metavar="NAME", help="second rule set; default: the only other one that scored"
    )
    again = add(top_level, "replay", commands.replay)
    again.add_argument("runs", nargs="+", metavar="RUN", help=RUN_HELP)
    again.add_argument("--diff", action="store_true", help="show every value that differs")
    again.add_argument(
        "--workers", type=at_least_one, metavar="N", help="number of processes; default: one per core"
    )
    explanation = add(top_level, "explain", commands.explain)
    explanation.add_argument("run", metavar="RUN", help=RUN_HELP)
    explanation.add_argument("miner", metavar="MINER", help="uid, hotkey or the start of a hotkey")
    explanation.add_argument("--rule-set", metavar="NAME", help="rule set to explain; default: the run's")
    explanation.add_argument("--lead", type=int, metavar="H", help="show only this lead, in hours")
    add_plot_options(add(top_level, "plot", commands.plot))
    machine.add_parsers(top_level)
    _add_tools(top_level, add_plain)
    return top


def _add_tools(top_level: Group, add_plain: Callable[[Group, str, Plain], argparse.ArgumentParser]) -> None:
    """Add the commands that need no open database."""
    add_watch(top_level)
    log_options.add_options(add_plain(top_level, "logs", commands.logs))
    add_runbook_options(add_plain(top_level, "runbook", commands.runbook))
    debug = top_level.add_parser("debug", help="Collect what explains a problem.").add_subparsers(
        required=True, metavar="COMMAND"
    )
    add_bundle_options(add_plain(debug, "bundle", commands.debug_bundle))
    shell = add_plain(top_level, "completion", commands.completion)
    shell.add_argument("shell", choices=SHELLS, help="shell to complete in")


def _added(
    group: Group,
    name: str,
    sentence: str | None,
    parents: list[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    text = (sentence or "").strip()
    return group.add_parser(name, parents=parents, help=text, description=text)


if __name__ == "__main__":
    sys.exit(main())
