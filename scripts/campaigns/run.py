"""Plays a deck of faults in one long life of a validator, and compares it bit for bit with an undisturbed one."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import asyncpg

from campaigns.run_faults import space
from campaigns.run_faults.deck import CARDS, DISK_FULL, MEETS_NOBODY
from campaigns.run_faults.pace import Pace, steps_of
from campaigns.run_faults.service import ServedSubnet
from campaigns.state_faults.playing import Form, Played, Scene, Stuck, play
from campaigns.state_faults.reading import judge
from gaia.localnet.children import ChildFailed
from gaia.localnet.options import data_dir

_SHADOW: Final[Mapping[str, float | str]] = {"shadow_rule_set": "gaia-next", "shadow_share": 1.0}
_LIMITS: Final = {"chain_timeout_s": 3.0, "database_timeout_s": 2.0, "engine_silence_s": 5.0}
"""Limits of a campaign, shorter than in service, so that a fault is beyond them in seconds."""
LONG: Final = Form(
    days=12,
    miners=6,
    kills=0,
    free_kills=0,
    signer_stopped_s=0,
    locked_s=0,
    settings={**_SHADOW, **_LIMITS},
    patience_s=600.0,
)
SHORT: Final = replace(LONG, days=3, miners=3, patience_s=300.0)
_SHORT_FAULTS, _LONG_FAULTS = 40, 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--faults", type=int, help=f"number of faults; default: {_LONG_FAULTS}, with --short {_SHORT_FAULTS}"
    )
    parser.add_argument("--short", action="store_true", help=f"{SHORT.days} days and {SHORT.miners} miners")
    parser.add_argument(
        "--seed", type=int, default=1, help="decides which fault comes when, and whom it meets (1)"
    )
    parser.add_argument(
        "--card", action="append", choices=tuple(CARDS), help="only this kind; may be given again"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        metavar="TIMES",
        help="all limits of time, where others keep the machine busy (1)",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="write the subnets below this folder, and leave them"
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play both subnets; return {figures, ratios, violations}. Limits of time are those of a campaign, which `figures` tells."""
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_campaign(arguments, arguments.keep))
    with tempfile.TemporaryDirectory(prefix="run-chaos-") as folder:
        return asyncio.run(_campaign(arguments, Path(folder)))


def deck_of(names: Sequence[str], number: int, seed: int) -> list[str]:
    """Return so many cards, each kind as often as any other or once more, in an order of chance."""
    random = Random(seed)
    whole, rest = divmod(number, len(names))
    deck = [*names] * whole + random.sample(names, rest)
    random.shuffle(deck)
    return deck


async def _campaign(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    form = SHORT if arguments.short else LONG
    number = arguments.faults or (_SHORT_FAULTS if arguments.short else _LONG_FAULTS)
    left_out = [] if space.can_mount() else [DISK_FULL]
    if left_out and DISK_FULL in (arguments.card or ()):
        raise SystemExit("--card 'disk full' has to mount a disk: run as root, or choose another card")
    deck = deck_of(arguments.card or [name for name in CARDS if name not in left_out], number, arguments.seed)
    calm = await play(folder / "undisturbed", form, {}, arguments.seed, arguments.patience)
    violations = [f"undisturbed: {line}" for line in (*calm.reading.doubts, *calm.reading.losses())]
    figures: dict[str, Any] = {
        "seed": arguments.seed,
        "limits": dict(_LIMITS),
        "faults": len(deck),
        "left_out": left_out,
        "of_each": dict(sorted(Counter(deck).items())),
        "undisturbed_s": round(calm.seconds, 1),
    }
    try:
        played = await play(
            folder / "disturbed",
            form,
            {"deck": partial(_play_deck, deck=deck)},
            arguments.seed,
            arguments.patience,
            ServedSubnet,
        )
    except (Stuck, ChildFailed, OSError, asyncpg.PostgresError) as error:
        return {
            "figures": figures,
            "ratios": {"ended": 0.0},
            "violations": [*violations, f"did not come to its end: {type(error).__name__}: {error}"],
        }
    finally:
        disk = data_dir(folder / "disturbed")
        if space.is_mounted(disk):
            space.unmount(disk, keep=arguments.keep is not None)
    found, wrong = _judged(calm, played)
    return {
        "figures": figures | found | played.figures["deck"] | {"seconds": round(played.seconds, 1)},
        "ratios": {"ended": 1.0, "equal": 1.0 - found["differing"] / found["rows"]},
        "violations": violations + wrong,
    }


def _judged(calm: Played, played: Played) -> tuple[dict[str, int], list[str]]:
    # A calendar that moves lets manifests be frozen later.
    return judge(calm.reading, played.reading, late=True)


async def _play_deck(scene: Scene, deck: Sequence[str]) -> dict[str, Any]:
    """Play the cards one after the other, each once the subnet has come as far as its place in the deck."""
    pace = Pace(scene, steps_of(scene.form) / len(deck))
    pacing = asyncio.create_task(pace.keep())
    missed: Counter[str] = Counter()
    begun = time.monotonic()
    try:
        for place, name in enumerate(deck):
            pace.place = place
            await pace.reached(place)
            try:
                await CARDS[name](scene)
            except MEETS_NOBODY:
                missed[name] += 1
            print(f"{place + 1}/{len(deck)} {name}", file=sys.stderr)
    finally:
        pacing.cancel()
        pace.release()
    assert isinstance(scene.subnet, ServedSubnet)
    return {
        "deck_s": round(time.monotonic() - begun, 1),
        "missed": dict(missed),
        "started_again_after_exit_code": dict(scene.subnet.started_again),
    }
