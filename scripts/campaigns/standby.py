"""Pauses and kills the active one of two validators on one database, and compares with an undisturbed life."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

import asyncpg
from benchmarks.database import server, silence
from golden_traces.questions import Subjects

from campaigns.standby_faults import audit, questions
from campaigns.standby_faults.pair import NAMES, Pair
from campaigns.standby_faults.playing import KILL, PAUSE_ALL, PAUSE_ENGINE, Found, Play
from campaigns.standby_faults.services import signed
from campaigns.state_faults.playing import Form, Scene, Stuck, play
from campaigns.state_faults.reading import Reading, judge, read
from gaia.localnet.children import ChildFailed
from gaia.localnet.miners.local_miner import questions_path
from gaia.localnet.options import MINER_TIMEOUT_S, Options
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database
from gaia.validator.utils.settings.database import DatabaseSettings

_SCRIPTS: Final = Path(__file__).resolve().parents[1]
LONG: Final = Form(
    days=5,
    miners=3,
    kills=20,
    free_kills=0,
    signer_stopped_s=0,
    locked_s=0,
    settings={"shadow_rule_set": "gaia-next", "shadow_share": 1.0},
    patience_s=600.0,
)
SHORT: Final = replace(LONG, days=1, miners=2, kills=2, patience_s=120.0)
_PAUSES, _SHORT_PAUSES = 40, 3
_SHORT_LEASE_S: Final = 5.0
_GRACE_S: Final = 5.0
"""Seconds beyond the lease within which the standby must have taken over."""
_MOST_CPU: Final = 0.01
"""Part of a processor that a standby may use; judged in the long form, because others keep CI's machines busy."""
_WATCHES, _SHORT_WATCHES = (3, 30.0), (1, 4.0)
"""How often a standby is watched, and for how many seconds."""
_SILENCE_S: Final = 30.0
_SEED: Final = 5
"""Of the weather and the miners, which are those of every other campaign."""
_SHOWN: Final = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--pauses", type=int, help=f"pauses longer than the lease; default: {_PAUSES}, short {_SHORT_PAUSES}")
    add("--kills", type=int, help=f"kills; default: {LONG.kills}, short {SHORT.kills}")
    add(
        "--short",
        action="store_true",
        help=f"one day, {SHORT.miners} miners, a lease of {_SHORT_LEASE_S:g} s",
    )
    add("--seed", type=int, default=1, help="decides the order, the moments and the folders (1)")
    add("--lease", type=float, metavar="SECONDS", help="length of the lease; default: that of the settings")
    add(
        "--patience",
        type=float,
        default=1.0,
        metavar="TIMES",
        help="all limits of time, on a busy machine (1)",
    )
    add("--keep", type=Path, metavar="DIR", help="write the subnets below this folder, and leave them")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play both lives; return {figures, ratios, violations}."""
    silence()
    # The subnet's own processes import the chain from here.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_SCRIPTS), str(_SCRIPTS.parent)])
    with tempfile.TemporaryDirectory(prefix="standby-") as temporary:
        folder: Path = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with server(folder / "server") as dsn:
            return asyncio.run(_campaign(arguments, folder, dsn))


def faults_of(pauses: int, kills: int, random: Random) -> list[str]:
    """Return so many faults in an order of chance; half of the pauses stop the IO-Engine alone."""
    faults = [PAUSE_ALL] * (pauses - pauses // 2) + [PAUSE_ENGINE] * (pauses // 2) + [KILL] * kills
    random.shuffle(faults)
    return faults


@dataclass(frozen=True, slots=True, kw_only=True)
class _Life:
    """What a disturbed life has left."""

    found: Found
    reading: Reading
    rows: dict[str, int]
    wrong_rows: list[str]
    asked: questions.Asked


async def _campaign(arguments: argparse.Namespace, folder: Path, dsn: str) -> dict[str, Any]:
    form = SHORT if arguments.short else LONG
    if arguments.kills is not None:
        form = replace(form, kills=arguments.kills)
    if arguments.pauses is None:
        arguments.pauses = _SHORT_PAUSES if arguments.short else _PAUSES
    lease_s = arguments.lease or (_SHORT_LEASE_S if arguments.short else DatabaseSettings().lease_s)
    if arguments.pauses + form.kills < 1 or not 5.0 <= lease_s < _SILENCE_S:
        raise SystemExit(
            f"choose at least one fault, and a lease of 5 to {_SILENCE_S:g} s: a longer pause is a silence"
        )
    begun = time.monotonic()
    calm = await play(folder / "undisturbed", form, {}, arguments.seed, arguments.patience)
    violations = [f"undisturbed: {line}" for line in (*calm.reading.doubts, *calm.reading.losses())]
    figures: dict[str, Any] = {
        "seed": arguments.seed,
        "lease_s": lease_s,
        "undisturbed_s": round(calm.seconds, 1),
    }
    try:
        life = await _disturbed(arguments, folder / "disturbed", form, lease_s, dsn)
    except (Stuck, ChildFailed, OSError, asyncpg.PostgresError) as error:
        violations.append(f"did not come to its end: {type(error).__name__}: {error}")
        return {"figures": figures, "ratios": {"ended": 0.0}, "violations": violations}
    equal, wrong = judge(calm.reading, life.reading, late=True)
    figures |= life.found.figures() | _counted(life, folder / "disturbed") | equal
    figures["seconds"] = round(time.monotonic() - begun, 1)
    return {
        "figures": figures,
        "ratios": {"ended": 1.0, "equal": 1.0 - equal["differing"] / equal["rows"]},
        "violations": violations + wrong + _violations(figures, life, arguments),
    }


async def _disturbed(
    arguments: argparse.Namespace, state_dir: Path, form: Form, lease_s: float, dsn: str
) -> _Life:
    """Play a life with all faults to its end."""
    random, patience = Random(arguments.seed), arguments.patience
    chosen = {
        **form.settings,
        "miner_timeout_s": MINER_TIMEOUT_S * patience,
        "engine_silence_s": _SILENCE_S * patience,
        "lease_s": lease_s,
    }
    await _prepare(dsn)
    connection = await asyncpg.connect(dsn, ssl=False)
    options = Options(miners=form.miners, days=form.days, seed=_SEED)
    pair = Pair(state_dir, options, chosen, dsn)
    try:
        async with pair:
            await pair.start()
            scene = Scene(subnet=pair, form=form, random=random, patience=patience)
            faults = faults_of(arguments.pauses, form.kills, random)
            watches, watch_s = _SHORT_WATCHES if arguments.short else _WATCHES
            playing = Play(scene, pair, connection, faults, lease_s=lease_s, watches=watches, watch_s=watch_s)
            await playing.run()
            await scene.until(lambda progress: progress.is_complete(form.days))
            reading = await read(dsn, form.patience_s * patience)
        rows, wrong_rows = await audit.written(connection)
        asked = await _asked(connection, pair)
        return _Life(found=playing.found, reading=reading, rows=rows, wrong_rows=wrong_rows, asked=asked)
    except (Stuck, ChildFailed) as error:
        _, wrong_rows = await audit.written(connection)
        doubled = (await _asked(connection, pair)).doubled
        raise Stuck("; ".join([str(error), *wrong_rows, *doubled[:_SHOWN]])) from error
    finally:
        connection.terminate()


async def _prepare(dsn: str) -> None:
    """Make the schema, and what watches it."""
    database = await Database.connect(dsn, timeout_s=30.0, pool_size=2)
    try:
        await run_comprehensive_database_setup(database)
        async with database.transaction() as connection:
            await audit.install(connection, NAMES)
    finally:
        await database.close()


async def _asked(connection: audit.Connection, pair: Pair) -> questions.Asked:
    """Compare the miners' records with the commits."""
    init_times = {
        row["run_id"]: row["init_time"]
        for row in await connection.fetch("SELECT run_id, init_time FROM runs")
    }
    moves = await audit.moves(connection)
    taken_at = [take.at for take in await audit.takes(connection)]
    asked = questions.Asked()
    for hotkey, spec in pair.specs.items():
        path = questions_path(pair.state_dir / "miners", spec)
        answers = questions.recorded(path, Subjects(hotkey, init_times))
        commits = {run: found for (run, whose), found in moves.items() if whose == hotkey}
        questions.count_doubled(asked, spec.name, answers, commits, taken_at)
    return asked


def _counted(life: _Life, state_dir: Path) -> dict[str, Any]:
    """Return the figures of rows, questions and vectors."""
    sent = signed(state_dir)
    return {
        "written": life.rows,
        "questions": life.asked.questions,
        "questions_doubled": len(life.asked.doubled),
        "questions_again_as_uncommitted": life.asked.uncommitted,
        "extrinsics": sent.extrinsics,
        "extrinsics_are_all": sent.is_whole,
        "epochs_with_a_vector": sent.epochs,
        "epochs_with_two_vectors": list(sent.doubled),
    }


def _violations(figures: dict[str, Any], life: _Life, arguments: argparse.Namespace) -> list[str]:
    """Return a line for each bar that was missed."""
    limit_s = figures["lease_s"] + _GRACE_S * arguments.patience
    late = [
        f"a takeover took {seconds:.1f} s after a {fault}, more than {limit_s:g} s"
        for fault, times in life.found.takeovers.items()
        for seconds in times
        if seconds > limit_s
    ]
    broken = [
        (
            0 in (life.rows["rows"], life.asked.questions, figures["epochs_with_a_vector"]),
            "nothing was written, asked or set, so nothing is shown",
        ),
        (not figures["extrinsics_are_all"], "the chain was sent more than it remembers"),
        (figures["epochs_with_two_vectors"], f"two vectors in epochs {figures['epochs_with_two_vectors']}"),
        (
            not arguments.short and life.found.cpu_share > _MOST_CPU,
            f"the standby uses {life.found.cpu_share:.2%} of a processor",
        ),
    ]
    return [
        *late,
        *life.wrong_rows,
        *life.asked.doubled[:_SHOWN],
        *(line for is_broken, line in broken if is_broken),
    ]
