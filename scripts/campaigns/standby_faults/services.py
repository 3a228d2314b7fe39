"""Serves a local subnet whose chain writes down the vectors that were signed, when it stops."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaia.localnet import services
from gaia.localnet.chain.blocks import KEPT_HASHES

if TYPE_CHECKING:
    from gaia.localnet.options import Options

_DESTINATIONS, _WEIGHTS = "dests", "weights"
"""Arguments of a call with weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What the chain was sent."""

    extrinsics: int
    epochs: int
    """Epochs with a vector."""
    doubled: tuple[int, ...]
    """Epochs with two."""
    is_whole: bool
    """Whether the chain still knew all of it."""


@asynccontextmanager
async def chain(state_dir: Path, options: Options) -> AsyncIterator[Mapping[str, Any]]:
    """Serve the chain of `gaia.localnet.services`."""
    node, first_block = await services.chain_of(state_dir, options)
    try:
        yield {"url": await node.start(), "first_block": first_block}
    finally:
        vectors = [
            [epoch, list(extrinsic.arguments[_DESTINATIONS]), list(extrinsic.arguments[_WEIGHTS])]
            for epoch, extrinsic in node.submitted
            if _DESTINATIONS in extrinsic.arguments
        ]
        _path(state_dir).write_text(json.dumps(vectors))
        await node.stop()


def signed(state_dir: Path) -> Signed:
    """Return what the stopped chain of a subnet was sent."""
    vectors = json.loads(_path(state_dir).read_text())
    found: dict[int, set[str]] = defaultdict(set)
    for epoch, destinations, weights in vectors:
        found[epoch].add(f"{destinations} {weights}")
    return Signed(
        extrinsics=len(vectors),
        epochs=len(found),
        doubled=tuple(sorted(epoch for epoch, different in found.items() if len(different) > 1)),
        is_whole=len(vectors) < KEPT_HASHES,
    )


def _path(state_dir: Path) -> Path:
    return state_dir / "vectors.json"


def main() -> None:
    """Run one service of a local subnet; the chain is the one of this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service")
    parser.add_argument("--state", type=Path, required=True)
    chosen = parser.parse_args()
    asyncio.run(services.serve(chosen.service, chosen.state, {**services.SERVICES, services.CHAIN: chain}))


if __name__ == "__main__":
    main()
