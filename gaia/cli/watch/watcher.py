"""Looks at the chain at intervals, prints what it finds, and sends the news."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import httpx

from gaia.cli import tables
from gaia.cli.watch.findings import Finding, State
from gaia.cli.watch.news import News
from gaia.cli.watch.nodes import Nodes
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.messenger import Message, Messenger, Urgency

if TYPE_CHECKING:
    import argparse

DEFAULT_ENDPOINT = "wss://entrypoint-finney.opentensor.ai:443"
_TIMEOUT_S = 30.0
_PING_WITHIN_S = 10.0
_EXIT_CODES = {State.WELL: 0, State.UNREADABLE: 2, State.STANDING: 2}


class Watcher:
    """Looks, prints, sends messages, and tells a deadman switch that all is well.

    Raises
    ------
    ConfigurationError
        If an address of `--notify` names no service.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._messenger = Messenger(arguments.notify or [], "--notify")
        self._nodes = Nodes(arguments.endpoint or [DEFAULT_ENDPOINT], arguments.netuid, _TIMEOUT_S)
        self._hotkey = Hotkey(arguments.hotkey)
        self._news = News(self._hotkey, 3600.0 * arguments.remind)
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Look once, and return 0 well, 1 trouble, 2 no node can be believed; or look until a signal, and return 0."""
        if self._arguments.once:
            return _EXIT_CODES.get((await self._look()).state, 1)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        ended = asyncio.create_task(self._stop.wait())
        while not self._stop.is_set():
            looking = asyncio.create_task(self._look())
            await asyncio.wait({looking, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not looking.done():
                looking.cancel()
                break
            looking.result()
            await asyncio.wait({ended}, timeout=self._arguments.every)
        ended.cancel()
        return 0

    async def _look(self) -> Finding:
        finding = await self._nodes.look(self._hotkey, self._arguments.older_than)
        if self._arguments.json:
            tables.print_json(finding)
        else:
            tables.print_lines(_line(finding))
        message = self._news.of(finding, time.monotonic())
        if message is None and self._arguments.once and finding.state is State.UNREADABLE:
            message = Message(title="Gaia validator", body=finding.sentence, urgency=Urgency.WARNING)
        if message is not None and await self._is_taken(message):
            self._news.taken(finding, time.monotonic())
        if finding.state is State.WELL and self._arguments.alive:
            await self._ping(self._arguments.alive)
        return finding

    async def _is_taken(self, message: Message) -> bool:
        """Send a message; return whether an address took it, or there is none."""
        failures = await self._messenger.send(message)
        for failure in failures:
            tables.print_note(f"{failure}; the message was: {message.title}")
        return not failures or len(failures) < len(self._messenger)

    async def _ping(self, address: str) -> None:
        try:
            async with httpx.AsyncClient(timeout=_PING_WITHIN_S) as client:
                (await client.get(address)).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            tables.print_note(f"the address of --alive did not answer: {type(error).__name__}")


def _line(finding: Finding) -> str:
    remedy = f" -> {finding.remedy}" if finding.remedy else ""
    block = f"block {finding.block}" if finding.block is not None else "no block"
    return f"{block}  {finding.state}: {finding.sentence}{remedy}"
