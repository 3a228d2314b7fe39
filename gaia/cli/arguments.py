"""Parse the arguments of the command line; recognise an output that cannot be written."""

from __future__ import annotations

import argparse
import errno
from pathlib import Path
from urllib.parse import urlsplit

from gaia.validator.db.states import ForecastState
from gaia.validator.utils.errors import GaiaError
from gaia.validator.utils.version import add_env_file_option

PICTURES = ("scorecard", "skill", "error-map", "leaderboard", "clones")
RUN_HELP = 'id, the start of an id, "last" (the newest that is finished), "last:N" or "all"'
SHELLS = ("bash", "zsh", "fish")
"""Shells in which `gaia completion` completes."""
ANY_RUN_HELP = 'id, the start of an id, or "last" (the newest, in whatever state)'
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class NotWritten(GaiaError):
    """The answer is computed, but its destination cannot be written."""


def at_least_one(text: str) -> int:
    """Return the count that an option gives; argparse reports a value below 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def add_place_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a validator: by its data folder, or by its file of settings."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--state", type=Path, metavar="DIR", help="data folder of a rehearsal or a validator")
    add_env_file_option(place)


def add_bundle_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gaia debug bundle`."""
    parser.add_argument(
        "-o",
        "--output",
        type=_tar_gz,
        metavar="FILE",
        help="file to write, which ends in .tar.gz; default: gaia-debug-<time>.tar.gz",
    )


def add_last_option(parser: argparse.ArgumentParser, default: int) -> None:
    """Add the option that limits a list to its newest entries."""
    parser.add_argument(
        "--last",
        type=at_least_one,
        default=default,
        metavar="N",
        help=f"number of entries; default: {default}",
    )


def add_watch_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that repeats `gaia status`."""
    parser.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=2.0,
        metavar="S",
        help="draw it anew every S seconds until Ctrl-C, which exits with 0; default: 2",
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 86400 seconds")
    return value


def is_full(error: OSError) -> bool:
    """Return whether standard output is full; an error of another file carries the file's name."""
    return error.filename is None and error.errno in _FULL


def add_plot_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gaia plot`."""
    add = parser.add_argument
    add("picture", choices=PICTURES)
    add("runs", nargs="+", metavar="RUN", help=RUN_HELP)
    add("-o", "--output", type=_png, required=True, metavar="FILE", help="PNG file to write")
    add("--miner", metavar="MINER", help="uid, hotkey or the start of a hotkey; default: the best miner")
    add(
        "--against",
        default="climatology",
        metavar="NAME",
        help="scorecard: climatology, gfs, persistence, blend or a miner; default: climatology",
    )
    add(
        "--field",
        action="append",
        metavar="F",
        help="field, such as 2t or z500; may be repeated; default: all that were scored",
    )
    add(
        "--lead", type=int, metavar="H", help="lead in hours; default: the last for error-map, all for clones"
    )
    add("--rule-set", metavar="NAME", help="rule set; default: that of the newest run")
    add("--workers", type=at_least_one, metavar="N", help="clones: number of processes; default: 2")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gaia runs show`; `--state` names a data folder already."""
    parser.add_argument("run", metavar="RUN", help=ANY_RUN_HELP)
    parser.add_argument(
        "--in-state",
        action="append",
        choices=[state.value for state in ForecastState],
        help="list forecasts in this state only; may be repeated",
    )
    parser.add_argument("--miner", metavar="MINER", help="list only this one: a uid, hotkey or its start")


def add_runbook_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gaia runbook`."""
    parser.add_argument("alert", nargs="?", metavar="ALERT", help="name of the alert; default: list all")
    parser.add_argument(
        "--metrics-url", type=_http, metavar="URL", help="address of the metrics; default: as in the settings"
    )


def _http(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text} does not begin with http:// or https://")
    return text


def add_site_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gaia export site`."""
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="folder of the site; new, empty or an earlier site"
    )
    parser.add_argument(
        "--base-url",
        type=_base_url,
        metavar="URL",
        help="address at which the site is published; each page then names its own",
    )
    add_last_option(parser, 30)
    parser.add_argument(
        "--pictures",
        type=_none_or_more,
        default=3,
        metavar="N",
        help="number of best miners whose scorecard and error map are drawn; default: 3",
    )


def _none_or_more(text: str) -> int:
    return 0 if text == "0" else at_least_one(text)


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or "@" in text
    ):
        raise argparse.ArgumentTypeError(f"{text} is not an address such as https://example.org/gaia")
    return text.rstrip("/")


def _tar_gz(text: str) -> Path:
    if not text.endswith(".tar.gz"):
        raise argparse.ArgumentTypeError(f"{text} does not end in .tar.gz, the only format that is written")
    return _in_a_folder(text)


def _png(text: str) -> Path:
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text} does not end in .png, the only format that is written")
    return _in_a_folder(text)


def _in_a_folder(text: str) -> Path:
    """Return the path of a file to write; its folder must exist, because a mistyped one is not meant."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path
