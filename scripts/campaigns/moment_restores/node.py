"""Serves the chain of a local subnet, and writes down what is signed and what lands."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gaia.localnet import services
from gaia.localnet.options import NETUID, TEMPO

if TYPE_CHECKING:
    from gaia.localnet.chain.node import LocalChain
    from gaia.localnet.options import Options

_LOOK_EVERY_S: Final = 0.02
_LONG_TEMPO: Final = 10_000


def book_path(state_dir: Path) -> Path:
    """Return the file with one JSON object a line, of each signature and each landing."""
    return state_dir / "signatures.jsonl"


def long_epoch_path(state_dir: Path) -> Path:
    """Return the file during whose presence the present epoch does not end."""
    return state_dir / "long_epoch"


class Epochs:
    """Makes the present epoch last while a file is there, as an epoch of the network outlasts a restore."""

    def __init__(self, node: LocalChain, path: Path) -> None:
        self._node = node
        self._path = path
        self._is_long = False

    async def keep(self) -> None:
        """Look at the file for ever."""
        while True:
            if self._path.exists() != self._is_long:
                self._is_long = not self._is_long
                self._node.write_storage("Tempo", NETUID, value=_LONG_TEMPO if self._is_long else TEMPO)
            await asyncio.sleep(_LOOK_EVERY_S)


class Book:
    """What the validator, which has uid 0, signed and what the chain took of it."""

    def __init__(self, node: LocalChain, path: Path) -> None:
        self._node = node
        self._path = path
        self._seen = 0
        self._updated = node.last_update(0)

    async def keep(self) -> None:
        """Write for ever."""
        while True:
            with self._path.open("a") as file:
                for line in self._news():
                    file.write(json.dumps(line) + "\n")
            await asyncio.sleep(_LOOK_EVERY_S)

    def _news(self) -> Iterator[dict[str, Any]]:
        node, at = self._node, time.time()
        submitted = list(node.submitted)
        for epoch, extrinsic in submitted[self._seen :]:
            arguments = extrinsic.arguments
            if "dests" in arguments:
                pairs = list(zip(arguments["dests"], arguments["weights"], strict=True))
                yield {"what": "signed", "at": at, "epoch": epoch, "vector": pairs}
        self._seen = len(submitted)
        updated = node.last_update(0)
        if updated != self._updated:
            self._updated = updated
            yield {"what": "landed", "at": at, "block": updated, "vector": node.weights(0)}


@asynccontextmanager
async def chain(state_dir: Path, options: Options) -> AsyncIterator[Mapping[str, Any]]:
    """Serve the chain of `gaia.localnet.services`, with its book beside it."""
    node, first_block = await services.chain_of(state_dir, options)
    keepers = (Book(node, book_path(state_dir)), Epochs(node, long_epoch_path(state_dir)))
    keeping = [asyncio.create_task(keeper.keep()) for keeper in keepers]
    try:
        yield {"url": await node.start(), "first_block": first_block}
    finally:
        for task in keeping:
            task.cancel()
        await node.stop()


if __name__ == "__main__":
    services.main(services={**services.SERVICES, services.CHAIN: chain})
