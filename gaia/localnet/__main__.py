"""Runs a local subnet from schedule to weights, and shows it to a person or to a program."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from gaia.localnet.options import Options
from gaia.localnet.population import DEFAULT_SIZE, Behaviour
from gaia.localnet.state import fresh_state_dir, in_use
from gaia.localnet.subnet import LocalSubnet
from gaia.localnet.view.display import Display, LiveDisplay, PlainDisplay, View, final_table
from gaia.localnet.view.stages import Stage, Stopwatch, stage_of
from gaia.localnet.view.watch import NOT_NOW
from gaia.validator.utils.errors import GaiaError

MOST_MINERS = 250
_DEFAULT_DAYS = 3
_WATCH_S = 0.25
_WIDE = 200
"""Width of the table in a file or a pipe, which no terminal limits."""


class _Stopped(Exception):
    """The user asked to stop."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run the subnet, return the exit code."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if any(index >= chosen.miners for index, _ in chosen.recast):
        parser.error(f"argument --recast: miners are numbered 0 to {chosen.miners - 1}")
    options = Options(
        miners=chosen.miners,
        days=chosen.days or (1 if chosen.once else _DEFAULT_DAYS),
        grid=chosen.grid,
        seed=chosen.seed,
        rule_set=chosen.rule_set,
        recast=dict(chosen.recast),
        metrics_port=chosen.metrics_port,
    )
    made = _days_of(chosen.state)
    if made is not None and (chosen.days or 1) > made:
        parser.error(f"argument --days: {chosen.state} was made for {made}, so it opens no more runs")
    wanted_runs = 1 if chosen.once else chosen.days or made or _DEFAULT_DAYS
    try:
        state_dir: Path = chosen.state or fresh_state_dir(datetime.now(UTC), keep_all=chosen.keep)
        with in_use(state_dir):
            return asyncio.run(_run(state_dir, options, wanted_runs, as_json=chosen.json))
    except (GaiaError, *NOT_NOW) as error:
        print(f"The local subnet failed: {error}", file=sys.stderr)
        return 1


def _days_of(state_dir: Path | None) -> int | None:
    """Return the number of runs that an existing folder was made for; None if there is no such folder."""
    try:
        return None if state_dir is None else Options.load(state_dir).days
    except (OSError, msgspec.MsgspecError):
        return None  # the start fails for the same reason, and says so


async def _run(state_dir: Path, options: Options, wanted_runs: int, *, as_json: bool) -> int:
    errors = Console(stderr=True)
    screen = Console()
    if not screen.is_terminal:
        screen = Console(width=_WIDE)
    live = screen.is_terminal and not as_json
    display: Display = LiveDisplay(screen) if live else PlainDisplay(errors)
    stopped = _on_signals()
    async with LocalSubnet(state_dir, options) as subnet:
        try:
            with display:
                report = await _unless(stopped, _follow(subnet, display, wanted_runs))
        except _Stopped:
            errors.print(f"Everything it wrote is in {state_dir}.", highlight=False)
            errors.print("Stopping: the validator finishes what it has begun; Ctrl-C again ends it at once.")
            clean = await subnet.stop()
            errors.print(
                "Stopped: the validator drained cleanly."
                if clean
                else "Stopped: the validator had to be killed."
            )
            return 0 if clean else 1
        clean = await subnet.stop()
    if as_json:
        print(json.dumps(report))
    else:
        screen.print(final_table(report, screen.width))
        screen.print(f"Everything it wrote is in {state_dir}.", highlight=False)
    if not clean:
        errors.print("The validator did not end cleanly; see its log.")
    return 0 if clean else 1


async def _follow(subnet: LocalSubnet, display: Display, wanted_runs: int) -> dict[str, Any]:
    """Start the subnet, show it until its weights cover `wanted_runs` runs, and return the report."""
    stopwatch = Stopwatch(time.monotonic())
    starting = asyncio.create_task(subnet.start())
    try:
        while True:
            if starting.done():
                await starting
                subnet.check()
                progress = await subnet.progress()
            else:
                progress = subnet.last_progress
            now = time.monotonic()
            stopwatch.enter(stage_of(progress, wanted_runs), now)
            display.show(
                View(
                    stage=stopwatch.stage,
                    seconds=stopwatch.seconds(now),
                    total_s=stopwatch.total(now),
                    simulated=subnet.simulated_time(),
                    progress=progress,
                    specs=subnet.specs,
                    wanted_runs=wanted_runs,
                )
            )
            if stopwatch.stage is Stage.DONE:
                break
            await asyncio.sleep(_WATCH_S)
    finally:
        starting.cancel()
    now = time.monotonic()
    seconds = {str(stage): spent for stage, spent in stopwatch.seconds(now).items()}
    return await subnet.report(progress, seconds | {"total": stopwatch.total(now)})


def _on_signals() -> asyncio.Event:
    """Return an event that Ctrl-C or SIGTERM sets; a second Ctrl-C stops everything at once."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopped.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    return stopped


async def _unless(stopped: asyncio.Event, work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Return what `work` returns; raises `_Stopped` if the event comes first."""
    task = asyncio.create_task(work)
    waiting = asyncio.create_task(stopped.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    raise _Stopped


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gaia.localnet", description=__doc__)
    add = parser.add_argument
    add("--once", action="store_true", help="stop once the weights of the first run are set")
    add("--json", action="store_true", help="print one JSON object; progress goes to standard error")
    add(
        "--miners",
        type=_between(1, MOST_MINERS),
        default=DEFAULT_SIZE,
        metavar="N",
        help="number of miners; default: 12",
    )
    add(
        "--days",
        type=_between(1, 365),
        metavar="D",
        help="number of daily runs; default: 1 with --once, else 3",
    )
    add("--grid", choices=("1.0", "0.25"), default="1.0", help="grid spacing in degrees; default: 1.0")
    add(
        "--seed",
        type=_between(0, 10**6),
        default=0,
        metavar="S",
        help="seed of the forecast errors; default: 0",
    )
    add(
        "--rule-set",
        choices=("gaia-2.9", "gaia-next"),
        default="gaia-2.9",
        help="rule set for scores and weights; default: gaia-2.9",
    )
    add(
        "--recast",
        type=_recast,
        action="append",
        default=[],
        metavar="INDEX=BEHAVIOUR",
        help="give one miner another behaviour, such as 8=bad_redirect; may be repeated",
    )
    add(
        "--metrics-port",
        type=_between(0, 65535),
        default=0,
        metavar="PORT",
        help="serve the validator's metrics on this port of 127.0.0.1; default: 0, none",
    )
    add(
        "--state",
        type=Path,
        metavar="DIR",
        help="folder to write to or to continue; default: .localnet/<time>",
    )
    add("--keep", action="store_true", help="keep all older folders below .localnet")
    return parser


def _between(least: int, most: int) -> Any:
    def integer(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not between {least} and {most}")
        return value

    return integer


def _recast(text: str) -> tuple[int, Behaviour]:
    index, _, behaviour = text.partition("=")
    if not (index.isdecimal() and behaviour in set(Behaviour)):
        raise argparse.ArgumentTypeError(f"{text!r} does not have the form 8={Behaviour.BAD_REDIRECT}")
    return int(index), Behaviour(behaviour)


if __name__ == "__main__":
    sys.exit(main())
