"""Command line of the validator: shows, recomputes and draws what its database holds; changes nothing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.cli import commands
from gaia.cli.arguments import RUN_HELP, add_plot_options, at_least_one, is_full
from gaia.cli.watch import add_watch
from gaia.validator.utils.errors import ConfigurationError, GaiaError

if TYPE_CHECKING:
    from gaia.cli.source import Source

    Command = Callable[[Source, argparse.Namespace], int]


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
        code = _run(arguments)
        sys.stdout.flush()
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
    else:
        return code


def _run(arguments: argparse.Namespace) -> int:
    """Run the command; one that needs a database gets it opened."""
    if "without_source" in arguments:
        return int(arguments.without_source(arguments))
    # Not at the top, because --help needs no database driver.
    from gaia.cli.source import open_source

    command: Command = arguments.command
    with open_source(arguments.state) as source:
        return command(source, arguments)


def _drop_output() -> None:
    """Discard the rest of the output buffer, because the interpreter would fail on it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands and their options."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--state", type=Path, metavar="DIR", help="data folder of a rehearsal or a validator")
    shared.add_argument("--json", action="store_true", help="print one JSON value")
    top = argparse.ArgumentParser(prog="gaia", description=__doc__)
    top_level = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(
        group: argparse._SubParsersAction[argparse.ArgumentParser], name: str, command: Command
    ) -> argparse.ArgumentParser:
        text = (command.__doc__ or "").strip()
        added = group.add_parser(name, parents=[shared], help=text, description=text)
        added.set_defaults(command=command)
        return added

    add(top_level, "status", commands.status)
    add(top_level, "runs", commands.runs)
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
    add_watch(top_level)
    return top


if __name__ == "__main__":
    sys.exit(main())
