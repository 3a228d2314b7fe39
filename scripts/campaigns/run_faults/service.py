"""A subnet whose validator is started again as its service manager would."""

from __future__ import annotations

from collections import Counter
from typing import Any

from generate.settings_pages import MAY_PASS

from campaigns.state_faults.playing import FaultySubnet


class ServedSubnet(FaultySubnet):
    """Starts the validator again after an exit code that may pass, and leaves the others to a person."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.started_again: Counter[int] = Counter()
        """Exit code -> starts after it."""

    def check(self) -> None:
        """Raise `ChildFailed` if a process has ended, unless the service manager would start it again."""
        validator = self.validator
        if validator is not None and validator.exit_code in MAY_PASS:
            self.started_again[int(validator.exit_code or 0)] += 1
            self.start_validator()
        super().check()
