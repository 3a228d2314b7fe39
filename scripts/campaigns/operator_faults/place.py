"""The subnet under test, its calendar, and the tools that an operator runs beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from monitored.faults.scene import ChosenSubnet, Ground

from campaigns.operator_faults.node import tell
from campaigns.operator_faults.tools import Said, run_tool
from gaia.localnet.archives.troubles import CONTROL_PATH, Source, Trouble
from gaia.localnet.options import data_dir
from gaia.validator.app.observation.pages.outside import holder_of

_START_S: Final = 60.0
_JUMP_S: Final = 0.1
_NODE: Final = "campaigns.operator_faults.node"


class OperatedSubnet(ChosenSubnet):
    """A local subnet whose node can lie."""

    services_program = _NODE


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(Ground):
    """A running subnet whose calendar stands still unless a fault lets it go on."""

    async def stop_calendar(self) -> None:
        """Let the calendar never pass the present moment."""
        with self.clock.held("operator"):
            # A jump that had begun would undo this.
            await asyncio.sleep(_JUMP_S)
            self.clock.extend(self.clock.now())

    @asynccontextmanager
    async def calendar_going_on(self) -> AsyncIterator[None]:
        """Let the calendar go on while the body runs."""
        self.clock.extend(self.subnet.options.clock_end)
        try:
            yield
        finally:
            await self.stop_calendar()

    async def restart(self) -> None:
        """Stop the validator if it runs, and start it again."""
        await self.subnet.stop_validator()
        self.subnet.start_validator()

    async def settled(self) -> None:
        """Wait until the validator holds its folder; start it again if it has ended.

        A command that finds the folder free would start the database by itself, and hold it.
        """
        folder = data_dir(self.subnet.state_dir)

        async def is_held() -> bool:
            return holder_of(folder) is not None or self.has_ended()

        if self.has_ended():
            self.subnet.start_validator()
        await self.until(is_held, _START_S, "the start of the validator")

    def has_ended(self) -> bool:
        """Return whether the validator was started, and has ended."""
        return self.subnet.validator is not None and not self.subnet.validator.is_running

    async def node(self, command: str) -> None:
        """Have the chain's node carry out a command."""
        await tell(self.subnet.state_dir, command)

    async def archive(self, source: Source, trouble: Trouble | None) -> None:
        """Begin a trouble of an archive, or end all of them."""
        assert self.subnet.settings is not None
        word = "none" if trouble is None else str(trouble)
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"{self.subnet.settings.gfs_url}{CONTROL_PATH}?source={source}&trouble={word}"
            (await client.post(url)).raise_for_status()

    async def run(self, *words: str) -> Said:
        """Run `gaia` with the settings of the validator, and return what it says; see `run_tool`."""
        return await run_tool(self.subnet, self.patience, *words)


Cause = Callable[[Place], Any]
"""Injects a fault when the context that it returns is entered, and ends it when it is left."""


def folder_of(place: Place) -> Path:
    """Return the folder of the validator's hotkeys."""
    assert place.subnet.settings is not None
    chain = place.subnet.settings.chain
    return chain.wallet_path / chain.wallet_name / "hotkeys"
