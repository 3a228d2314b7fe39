"""Reloads the settings of a running validator; also a program that does so for the Supervisor."""

from __future__ import annotations

import pickle
import sys
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from gaia.validator.app.startup.options import supervisor_options
from gaia.validator.app.startup.reading import read_again
from gaia.validator.app.supervisor_options import Reloaded
from gaia.validator.utils.config import Settings, shown
from gaia.validator.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

RELOADABLE = frozenset(
    {
        "log_level",
        "log_dir",
        "log_file_mib",
        "log_files_kept",
        "compute_workers",
        "worker_max_jobs",
        "worker_idle_s",
        "worker_max_age_s",
        "worker_soft_limit_mib",
        "worker_hard_limit_mib",
        "supervisor_poll_s",
        "drain_timeout_s",
        "engine_silence_s",
        "canary_interval_s",
        "pool_queue_limit",
    }
)
"""Settings that take effect on SIGHUP; all others need a restart."""


def main() -> int:
    """Merge the running settings from standard input with the present sources; print the outcome."""
    running = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - written by the Supervisor
    try:
        merged, changed, refused = merge(running, partial(read_again, running.env_file))
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    outcome = Reloaded(options=supervisor_options(merged, -1), changed=changed, refused=refused)
    sys.stdout.buffer.write(msgspec.msgpack.encode(outcome))
    return 0


def merge(running: Settings, load: Callable[[], Settings]) -> tuple[Settings, dict[str, str], list[str]]:
    """Return the merged settings, the changed values by name, and the names that need a restart.

    Settings in `RELOADABLE` are taken from `load`. Settings given on the command line never change.
    """
    found = load()
    given = running.from_command_line()
    different = {
        name
        for name in Settings.model_fields
        if name not in given and getattr(found, name) != getattr(running, name)
    }
    taken = {name: getattr(found, name) for name in sorted(different & RELOADABLE)}
    changed = {name: shown(value) for name, value in taken.items()}
    return running.model_copy(update=taken), changed, sorted(different - RELOADABLE)


if __name__ == "__main__":
    sys.exit(main())
