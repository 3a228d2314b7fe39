"""The command doctor: examines settings and machine before anything starts."""

from __future__ import annotations

import argparse

from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.startup.reading import named_file
from gaia.validator.doctor.examination import PATIENCE_S, examine
from gaia.validator.doctor.findings import Group
from gaia.validator.doctor.report import as_json, lines
from gaia.validator.utils.errors import GaiaError


def doctor(arguments: argparse.Namespace) -> int:
    """Print what is wrong with the settings and this machine, each with its correction.

    Exit code 0: all is well; 1: warnings; 2: failures.
    """
    wanted = arguments.only or list(Group)
    unknown = [name for name in wanted if name not in list(Group)]
    if unknown:
        raise GaiaError(f"there is no group {unknown[0]}; there are {', '.join(Group)}")
    # What parts of the validator log while they are tried is in the findings.
    configure_logging("CRITICAL", "console")
    report = examine(
        named_file(arguments.env_file),
        patience_s=arguments.patience or PATIENCE_S,
        groups=[Group(name) for name in wanted],
    )
    if arguments.json:
        print(as_json(report))
    else:
        print("\n".join(lines(report, is_whole=arguments.all)))
    return report.exit_code
