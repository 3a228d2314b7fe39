"""What words of the command line must be, and what is said where an answer cannot be given away."""

from __future__ import annotations

import argparse
import errno

from gaia.validator.utils.errors import GaiaError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class NotWritten(GaiaError):
    """The answer is there, and the place it was to go to takes nothing."""


def at_least_one(text: str) -> int:
    """Return a count as an option gives it; refuses zero and less in argparse's words."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def is_full(error: OSError) -> bool:
    """Say whether it is standard output that takes nothing any more: errors of files name the file."""
    return error.filename is None and error.errno in _FULL
