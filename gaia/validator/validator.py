"""Entry point `gaia-validator`: reads the settings, checks the machine, and becomes the Supervisor."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
if not __package__:
    # Run as a script, this file's folder is on the import path; it lacks `gaia` and may hide other modules.
    sys.path = [str(ROOT), *(path for path in sys.path if path != str(Path(__file__).resolve().parent))]

from gaia.validator.utils.entry_points import SUPERVISOR  # noqa: E402 - needs the path set above
from gaia.validator.utils.errors import ConfigurationError, ExitCode  # noqa: E402 - likewise
from gaia.validator.utils.version import add_env_file_option, add_version_option  # noqa: E402 - likewise

if TYPE_CHECKING:
    from gaia.validator.app.supervisor_options import Options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the validator; return the exit code, as defined in `errors.ExitCode`."""
    arguments = _parse(argv)
    # Imported here, because --help needs no settings, and reading them loads much.
    from gaia.validator.app.startup.banner import announce
    from gaia.validator.app.startup.options import supervisor_options
    from gaia.validator.app.startup.preflight import preflight
    from gaia.validator.app.startup.reading import named_file, read_settings

    try:
        env_file = named_file(arguments.env_file)
        settings = read_settings(env_file, **_overrides(arguments))
        if arguments.check:
            print_settings(settings.describe())
            return examine_machine(env_file, _overrides(arguments))
        # What the validator writes is nobody else's: folders 0700, files 0600, here and in all its children.
        os.umask(0o077)
        lock = preflight(settings.files, settings.chain, settings.sandbox, settings.observation)
        announce(settings.chain, settings.observation, settings.data_dir, settings.rule_set)
        become_supervisor(supervisor_options(settings, lock))
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def print_settings(rows: Sequence[tuple[str, str, str]]) -> None:
    """Print name, value and origin of every setting, and the features of the kernel's sandbox."""
    from gaia.validator.app.sandbox.confine import survey

    name_width = max(len(name) for name, _, _ in rows)
    value_width = max(min(len(value), 60) for _, value, _ in rows)
    try:
        for name, value, origin in rows:
            print(f"{name:{name_width}}  {value:{value_width}}  {origin}")
        print(f"\nThis kernel's sandbox for compute workers is {survey()}.")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe; Python would report the error again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def examine_machine(env_file: Path, overrides: Mapping[str, Any]) -> int:
    """Print what `gaia doctor` finds; return 2 for a failure, else 0, because a warning prevents no start."""
    from gaia.validator.app.logging_config import configure_logging
    from gaia.validator.doctor.examination import examine
    from gaia.validator.doctor.report import lines

    configure_logging("CRITICAL", "console")
    report = examine(env_file, **overrides)
    print("", *lines(report), sep="\n", flush=True)
    return report.exit_code if report.exit_code > 1 else ExitCode.OK


def become_supervisor(options: Options) -> NoReturn:
    """Replace this program by the Supervisor in the same process.

    The Supervisor is a new program, because reading settings loads libraries such as asyncio, which
    the Supervisor must not carry.
    """
    import msgspec

    os.set_inheritable(options.lock_fd, True)
    # Passed through memory, because settings hold secrets and everybody can read a command line.
    memory = os.memfd_create("options", 0)
    os.write(memory, msgspec.msgpack.encode(options))
    os.lseek(memory, 0, os.SEEK_SET)
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", SUPERVISOR, str(memory)])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gaia-validator",
        description="Validator of the Gaia weather subnet. Settings come from the environment and a file.",
    )
    add_version_option(parser)
    add_env_file_option(parser)
    parser.add_argument(
        "--test", action="store_true", help="for trials: open a run every half hour, for a past day"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="do everything except signing and submitting weights"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="print the effective settings, examine the machine as `gaia doctor` does, and exit",
    )
    return parser.parse_args(argv)


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {"test_mode": arguments.test, "dry_run": arguments.dry_run}
    return {name: True for name, is_given in given.items() if is_given}


if __name__ == "__main__":
    sys.exit(main())
