"""Command line of the validator: shows, recomputes and draws what its database holds."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gaia.cli.arguments import is_full
from gaia.cli.parsers import parser
from gaia.validator.utils.errors import ConfigurationError, GaiaError

if TYPE_CHECKING:
    from gaia.cli.parsers import Command


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
        makes_cluster = getattr(arguments, "makes_cluster", False)
        with open_source(arguments.state, arguments.env_file, makes_cluster=makes_cluster) as source:
            code = command(source, arguments)
    sys.stdout.flush()
    return code


def _drop_output() -> None:
    """Discard the rest of the output buffer, because the interpreter would fail on it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
