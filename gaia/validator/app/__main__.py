"""Program of the Supervisor, which the entry point executes: python -m gaia.validator.app <fd>."""

from __future__ import annotations

import os
import sys

import msgspec

from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.supervisor import Supervisor
from gaia.validator.app.supervisor_options import Options


def main(options_fd: int) -> int:
    """Supervise with the options that the entry point wrote to `options_fd`; return the exit code."""
    with os.fdopen(options_fd, "rb") as source:
        options = msgspec.msgpack.decode(source.read(), type=Options)
    if options.lock_fd >= 0:
        os.set_inheritable(options.lock_fd, False)
    configure_logging(options.log_level, options.log_format, options.log_files, role="supervisor")
    return Supervisor(options).run()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
