"""The command db import-original: the scores of the window go over from a database of the original validator."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.database.changing import require_idle
from gaia.cli.database.original.plan import RULE_SET, WORDS, Known, LeftOut, Plan, plan_of
from gaia.cli.database.original.reading import SESSION, read_original
from gaia.cli.database.original.storing import store
from gaia.cli.nodes import chain_of
from gaia.tasks.defined_tasks.weather.schedule import Cadence
from gaia.validator.db.access.transactions import begun
from gaia.validator.db.schema.files import read_migrations
from gaia.validator.db.schema.migrating import read_standing
from gaia.validator.db.schema.standing import Fit
from gaia.validator.db.statements import SQL
from gaia.validator.utils.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.db.connection import Connection, Database
    from gaia.validator.utils.chain.metagraph import Metagraph
    from gaia.validator.utils.settings.schedule import ScheduleSettings
    from gaia.validator.utils.settings.weights import WeightsSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTaken:
    """One run that goes over."""

    run_id: str
    imported_from: str
    miners: int
    lead_scores: int
    """Number of scores of single leads, day 1 among them."""
    total: float
    """Sum of the overall scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Answer of db import-original."""

    is_done: bool
    """False: nothing was written, because --yes was not given."""
    days: int
    runs: Sequence[RunTaken]
    """Oldest first."""
    miners: int
    scores: int
    """Number of overall scores: one for each run and miner."""
    total: float
    """Their sum."""
    left_out: Mapping[str, int]
    """Reason -> number of the original's scores that do not go over."""
    bad_parts: int
    """Number of day-1 and lead scores that are no numbers from 0 to 1; they count as missing."""


def import_original(source: Source, arguments: argparse.Namespace) -> int:
    """Take over the scores of the window from a database of the original validator; exit code 1 if there are none."""
    _require_rules(source.settings.weights)

    async def act(database: Database) -> Plan:
        return await _import(database, arguments.url, source, is_meant=arguments.yes)

    plan = source.use(act)
    answer = _answer(plan, is_done=arguments.yes)
    if arguments.json:
        tables.print_json(answer)
    else:
        _print(answer)
    return ExitCode.OK if answer.runs or LeftOut.IMPORTED in plan.left_out else 1


def _require_rules(weights: WeightsSettings) -> None:
    if weights.rule_set != RULE_SET:
        raise ConfigurationError(
            "GAIA_RULE_SET",
            f"weights follow {weights.rule_set}, and the original's scores are of {RULE_SET}",
            f"set it to {RULE_SET}, or begin without the original's scores",
        )


async def _import(database: Database, url: str, source: Source, *, is_meant: bool) -> Plan:
    settings = source.settings
    await database.run(_require_current)
    ours = await database.run(lambda each: each.fetchval(SQL["newest_scored_init_time"], RULE_SET))
    scores = await read_original(
        url,
        ours=ours,
        window=timedelta(days=settings.weights.weights_window_days),
        timeout_s=settings.database.database_timeout_s,
    )
    async with chain_of(settings.chain) as chain:
        metagraph = await chain.metagraph(settings.chain.netuid, "")
    # A session of its own, because a statement of the pool has a time limit.
    async with database.alone(SESSION) as connection, begun(connection, readonly=not is_meant):
        if is_meant:
            await require_idle(connection)
        plan = plan_of(scores, await _known(connection, metagraph, settings.schedule, datetime.now(UTC)))
        if is_meant:
            await store(connection, plan.runs)
    return plan


async def _require_current(connection: Connection) -> None:
    standing = await read_standing(connection, read_migrations())
    standing.require_fit()
    if standing.fit is not Fit.CURRENT:
        raise ConfigurationError(
            "GAIA_DATABASE_URL",
            f"our database lacks {tables.counted(len(standing.missing), 'migration')}",
            "apply them with `gaia db migrate`",
            ExitCode.DATABASE_MISFIT,
        )


async def _known(
    connection: Connection, metagraph: Metagraph, schedule: ScheduleSettings, now: datetime
) -> Known:
    rows = await connection.fetch(SQL["known_runs"])
    cadence = Cadence.of(schedule, salt="")
    openings = cadence.openings(now - cadence.look_back, now + timedelta(days=1))
    return Known(
        own={row["init_time"] for row in rows if not row["is_imported"]},
        imported={row["init_time"] for row in rows if row["is_imported"]},
        opening={init_time for _, init_time in openings},
        registered={(each.uid, each.hotkey): each.registered_at for each in metagraph.neurons},
        now=now,
    )


def _answer(plan: Plan, *, is_done: bool) -> Imported:
    return Imported(
        is_done=is_done,
        days=len({run.init_time.date() for run in plan.runs}),
        runs=[
            RunTaken(
                run_id=run.run_id,
                imported_from=run.imported_from,
                miners=len(run.forecasts),
                lead_scores=run.lead_scores,
                total=run.total,
            )
            for run in plan.runs
        ],
        miners=len({forecast.hotkey for run in plan.runs for forecast in run.forecasts}),
        scores=sum(len(run.forecasts) for run in plan.runs),
        total=math.fsum(forecast.overall for run in plan.runs for forecast in run.forecasts),
        left_out={reason.value: plan.left_out[reason] for reason in LeftOut if reason in plan.left_out},
        bad_parts=plan.bad_parts,
    )


def _print(answer: Imported) -> None:
    if answer.runs:
        tables.print_table(
            ["run", "from", ">miners", ">lead scores?", ">sum of scores"],
            [
                (run.run_id, run.imported_from, run.miners, run.lead_scores, f"{run.total:.6f}")
                for run in answer.runs
            ],
        )
        tables.print_lines("")
    for name, number in answer.left_out.items():
        tables.print_lines(f"left out: {tables.counted(number, 'score')}, because {WORDS[LeftOut(name)]}")
    if answer.bad_parts:
        tables.print_lines(
            f"left out: {tables.counted(answer.bad_parts, 'score')} of single leads, because they are no numbers"
            " from 0 to 1"
        )
    if not answer.runs:
        is_there = LeftOut.IMPORTED in answer.left_out
        tables.print_lines("Everything is there already." if is_there else "Nothing can be taken over.")
        return
    what = (
        f"{tables.counted(answer.days, 'day')}, {tables.counted(len(answer.runs), 'run')},"
        f" {tables.counted(answer.miners, 'miner')}, {tables.counted(answer.scores, 'score')}"
        f" with the sum {answer.total:.6f}"
    )
    end = (
        "are taken over, and are what the original holds"
        if answer.is_done
        else "would be taken over; add --yes"
    )
    tables.print_lines(f"{what}: {end}")
