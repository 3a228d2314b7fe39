"""The command watch: looks at one validator's weights on chain, from any machine, and sends messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.cli.arguments import at_least_one

if TYPE_CHECKING:
    import argparse

DEFAULT_NETUID = 57
OLDER_THAN_BLOCKS = 720
"""Two epochs of 360 blocks: a healthy validator sets weights once in each."""
EVERY_S = 120
REMIND_EVERY_H = 6


def add_watch(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of `gaia`."""
    text = (watch.__doc__ or "").partition("\n")[0]
    parser = group.add_parser("watch", help=text, description=text)
    parser.set_defaults(without_source=watch)
    add = parser.add_argument
    add("--hotkey", required=True, metavar="SS58", help="hotkey of the validator to look at")
    add("--netuid", type=int, default=DEFAULT_NETUID, metavar="N", help="subnet; default: %(default)s")
    add("--endpoint", action="append", metavar="URL", help="node to read; may be repeated, asked in order")
    add(
        "--older-than",
        type=at_least_one,
        default=OLDER_THAN_BLOCKS,
        metavar="BLOCKS",
        help="age of weights that is trouble; default: %(default)s, two epochs",
    )
    add(
        "--every",
        type=at_least_one,
        default=EVERY_S,
        metavar="S",
        help="seconds between looks; default: %(default)s",
    )
    add("--once", action="store_true", help="look once and end: 0 well, 1 trouble, 2 no node can be believed")
    add("--notify", action="append", metavar="URL", help="apprise address for messages; may be repeated")
    add("--alive", metavar="URL", help="address to GET after each look that was well, for a deadman switch")
    add(
        "--remind",
        type=at_least_one,
        default=REMIND_EVERY_H,
        metavar="H",
        help="hours between two messages about a trouble that stays; default: %(default)s",
    )
    add("--json", action="store_true", help="print one JSON value per look")


def watch(arguments: argparse.Namespace) -> int:
    """Look at a validator's weights on chain, from any machine; send a message when they are too old."""
    import asyncio

    from gaia.cli.watch.watcher import Watcher

    return asyncio.run(Watcher(arguments).run())
