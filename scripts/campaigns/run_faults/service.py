"""A subnet whose validator is started again as its service manager would."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from campaigns.run_faults import space
from campaigns.state_faults.playing import FaultySubnet
from gaia.localnet.options import data_dir
from gaia.validator.utils.errors import ExitCode

OF_OTHERS: Final = frozenset(
    {ExitCode.CHAIN_UNREACHABLE, ExitCode.DATABASE_UNREACHABLE, ExitCode.DATA_DIR_FULL}
)
"""Ends of a start whose cause is what a card did to others; any other end is a fault of the validator."""


class ServedSubnet(FaultySubnet):
    """Starts the validator again if a start found others away, and leaves the other exit codes to a person."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.started_again: Counter[int] = Counter()
        """Exit code -> starts after it."""

    async def start(self) -> None:
        """Start the services and the validator, whose data folder is a disk of its own if we may mount one."""
        if space.can_mount():
            space.mount(data_dir(self.state_dir))
        await super().start()

    def check(self) -> None:
        """Raise `ChildFailed` if a process has ended, unless the service manager would start it again."""
        validator = self.validator
        if validator is not None and validator.exit_code in OF_OTHERS:
            self.started_again[int(validator.exit_code or 0)] += 1
            self.start_validator()
        super().check()
