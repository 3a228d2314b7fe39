"""Serves the chain of a local subnet, and makes it lie or go away as its control socket requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from gaia.localnet import services
from gaia.localnet.chain.lies import custom_error, result
from gaia.localnet.options import NETUID, Options
from gaia.localnet.wallets import VALIDATOR_URI, keypair

if TYPE_CHECKING:
    from gaia.localnet.chain.node import LocalChain

_METAGRAPH: Final = "SubnetInfoRuntimeApi_get_metagraph"
_SUBMIT: Final = "author_submitAndWatchExtrinsic"
_NULL: Final = "0x00"
_OUR_KEY: Final = bytes(keypair(VALIDATOR_URI).public_key).hex()
_ANOTHER_KEY: Final = "07" * 32
_CALL_DISALLOWED: Final = 6


def control_path(state_dir: Path) -> Path:
    """Return the socket that takes the commands."""
    return state_dir / "node.control"


class Puppet:
    """A node, and the commands that change it; each is one word."""

    def __init__(self, node: LocalChain, permits: int) -> None:
        self._node = node
        self._permits = permits
        self._port = 0

    async def start(self) -> str:
        url = await self._node.start(port=self._port)
        self._port = urlsplit(url).port or 0
        return url

    async def obey(self, command: str) -> None:
        """Carry out a command; raises `KeyError` if it is unknown."""
        match command:
            case "down":
                await self._node.stop()
            case "up":
                await self.start()
            case "no_permit" | "permit":
                permits = [command == "permit", *(False for _ in range(self._permits - 1))]
                self._node.write_storage("ValidatorPermit", NETUID, value=permits)
            case "null_metagraph":
                self._node.lies.tell(_METAGRAPH, result(_NULL), times=None)
            case "deregister":
                self._node.lies.tell(_METAGRAPH, _without_us, times=None)
            case "refuse_weights":
                self._node.lies.tell(_SUBMIT, custom_error(_CALL_DISALLOWED), times=None, acts=False)
            case "truth":
                self._node.lies.end()
            case _:
                raise KeyError(command)


def _without_us(truth: Any) -> Any:
    """Answer the same subnet with another hotkey in our place."""
    return {**truth, "result": truth["result"].replace(_OUR_KEY, _ANOTHER_KEY)}


@asynccontextmanager
async def chain(state_dir: Path, options: Options) -> AsyncIterator[Mapping[str, Any]]:
    """Serve the chain of `gaia.localnet.services`, with the control socket beside it."""
    node, first_block = await services.chain_of(state_dir, options)
    puppet = Puppet(node, permits=options.miners + 2)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await puppet.obey((await reader.readline()).decode().strip())
        writer.write(b"done\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(converse, control_path(state_dir))
    try:
        yield {"url": await puppet.start(), "first_block": first_block}
    finally:
        server.close()
        await node.stop()


async def tell(state_dir: Path, command: str) -> None:
    """Have the node of a subnet carry out a command."""
    reader, writer = await asyncio.open_unix_connection(control_path(state_dir))
    writer.write(command.encode() + b"\n")
    answer = await reader.readline()
    writer.close()
    if answer != b"done\n":
        raise ValueError(f"the node does not obey {command}")


if __name__ == "__main__":
    services.main(services={**services.SERVICES, services.CHAIN: chain})
