"""A local subnet that starts nothing: its database tells a prepared story.

As a program it is the command line of such a subnet in a process of its own, which a test may signal as it likes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from gaia.localnet import __main__ as command
from gaia.localnet.options import Options
from gaia.localnet.subnet import LocalSubnet
from gaia.localnet.view.watch import Progress
from tests.support.localnet import RUN_ID, a_finished_run, a_run

REPORT = {
    "run_ids": [RUN_ID],
    "miners": [],
    "chain": {"block": 99, "extrinsic": "99-1", "vector": []},
    "seconds": {},
}


class StagedSubnet(LocalSubnet):
    """Plays `story`, the last scene of which stays: it must be one that ends the command."""

    story: tuple[Progress, ...] = (Progress(), Progress(runs=(a_run(),)), a_finished_run())
    drains = True
    started: Options | None = None
    stops = 0
    most_looks = 2000

    async def start(self) -> None:
        type(self).started = self.options
        self._scenes = iter(self.story)
        self._looks = 0

    def check(self) -> None:
        """All is well."""

    async def progress(self) -> Progress:
        self._looks += 1
        assert self._looks <= self.most_looks, "the story has no end"
        self.last_progress = next(self._scenes, self.last_progress)
        return self.last_progress

    async def report(self, progress: Progress, seconds: Any) -> dict[str, Any]:
        return REPORT | {"seconds": dict(seconds)}

    async def stop(self) -> bool:
        type(self).stops += 1
        return self.drains


class EndlessSubnet(StagedSubnet):
    """Never has a run, and says so by the file `watched`."""

    story = (Progress(),)
    most_looks = sys.maxsize

    def check(self) -> None:
        Path("watched").touch()


class StubbornSubnet(EndlessSubnet):
    """Its validator has to be killed."""

    drains = False


class ClingingSubnet(EndlessSubnet):
    """Its validator never ends."""

    async def stop(self) -> bool:
        await asyncio.sleep(3600)
        return True


def main() -> int:
    """Run the command line with the subnet that the first argument names."""
    vars(command)["LocalSubnet"] = globals()[sys.argv[1]]
    return command.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
