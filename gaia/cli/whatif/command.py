"""The command what-if: the weights of the window under a change, from what is stored."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.replay.units import pool
from gaia.cli.select import NotThere
from gaia.cli.snapshot import Snapshot, UnitsInPool
from gaia.cli.whatif import report
from gaia.cli.whatif.changes import BURN, CONTRAST, RULES, WINDOW, Change, change_of
from gaia.cli.whatif.remeasuring import remeasured
from gaia.cli.whatif.rescoring import Rescored, components_of, rescored
from gaia.cli.whatif.stages import NOW, Stage, miner_changes, with_burn, with_contrast, with_copies_apart
from gaia.tasks.defined_tasks.weather.copies.copy_book import CopyBook
from gaia.validator.app.logging_config import configure_logging
from gaia.validator.app.meeting.engine_note import read_engine_note
from gaia.validator.core.weights.vector import registered
from gaia.validator.core.weights.window import inputs_of
from gaia.validator.db import history, journal
from gaia.validator.utils.chain.metagraph import Metagraph

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.cli.whatif.report import Answer
    from gaia.validator.db.connection import Connection
    from gaia.validator.db.history import StoredRun
    from gaia.validator.db.journal import WindowScore
    from gaia.validator.utils.settings.weights import WeightsSettings


def what_if(source: Source, arguments: argparse.Namespace) -> int:
    """Print each miner's weight now and under the change; exit code 1 if no run could be replayed."""
    change = change_of(source.settings, arguments.set, arguments.rule_set)
    note = read_engine_note(source.data_dir)
    if note is None:
        raise NotThere("no engine has read the chain yet, so it is not known who is registered")
    # The lines of the code that finds copies are for the validator's log.
    configure_logging("CRITICAL", "console")
    with pool(arguments.workers or os.cpu_count() or 1, source.data_dir) as executor:
        measured = _measured_again(source, change, executor)
        question = _Question(change, note.metagraph, executor, measured)
        answer = source.read(question.answered)
    report.print_answer(answer, change, as_json=arguments.json)
    return 0 if answer.replayed else 1


@dataclass(frozen=True, slots=True)
class _Question:
    """A change, and those among whom the weights are divided."""

    change: Change
    metagraph: Metagraph
    executor: ProcessPoolExecutor
    measured: Mapping[str, Rescored]
    """Runs that the other rules never scored -> what their kept inputs give."""

    async def answered(self, connection: Connection) -> Answer:
        """Return the answer from one snapshot of the database."""
        before, after = self.change.before.weights, self.change.after.weights
        stored = await _window(connection, before.rule_set, before.weights_window_days)
        in_window = await _window(connection, before.rule_set, after.weights_window_days)
        if not (in_window or await _window(connection, after.rule_set, after.weights_window_days)):
            raise NotThere("nothing could be replayed: no score in the window")
        runs = await self._replayed(connection, _run_ids(in_window))
        scores = [score for run in runs for score in run.scores]
        lost = self._left_out(in_window, runs)
        if not scores:
            raise NotThere(
                f"nothing could be replayed: {tables.counted(len(lost), 'run')} in the window,"
                f" {next(iter(lost.values()))};"
                " see GAIA_SHADOW_RULE_SET"
            )
        stages = await self._stages(connection, stored, in_window, scores)
        if stages[-1].by_uid is None:
            raise NotThere("no weights would be set under the change: no hotkey can receive the weight")
        return report.answer_of(
            self.change,
            stages,
            miner_changes(stages),
            runs,
            left_out=lost,
            block=self.metagraph.block,
        )

    async def _replayed(self, connection: Connection, order: Sequence[str]) -> list[Rescored]:
        """Return the runs of the changed window, oldest first, each with its scores under the change."""
        after = self.change.after.weights
        stored = await _window(connection, after.rule_set, after.weights_window_days)
        found = []
        for run_id, group in groupby(stored, key=lambda score: score.run_id):
            scores = list(group)
            if not self.change.rescores:
                found.append(Rescored(run_id, scores))
                continue
            # One run at a time, so that memory does not grow with their number.
            (run,) = await history.stored_runs(connection, [run_id], with_components=False)
            rows = history.components_under(connection, run_id, after.rule_set)
            measured = await components_of(rows)
            found.append(rescored(run, measured, scores, after.rule_set, self.change.contract))
        known = {run.run_id for run in found}
        found += [run for run in self.measured.values() if not run.problem and run.run_id not in known]
        # Other rules may have a run that is older than the window of the present ones.
        places = {run_id: place for place, run_id in enumerate(order)}
        return sorted(found, key=lambda run: places.get(run.run_id, -1))

    def _left_out(self, in_window: Sequence[WindowScore], runs: Sequence[Rescored]) -> dict[str, str]:
        """Return run of the window -> why it has no score under the change."""
        known = {run.run_id for run in runs}
        rules = self.change.after.weights.rule_set
        lost = {}
        for run_id in _run_ids(in_window):
            if run_id not in known:
                # A run may get its first score between the two snapshots.
                why = self.measured[run_id].problem if run_id in self.measured else "its first score is new"
                lost[run_id] = f"not scored under {rules}, and {why}"
        return lost

    async def _stages(
        self,
        connection: Connection,
        stored: Sequence[WindowScore],
        in_window: Sequence[WindowScore],
        scores: Sequence[WindowScore],
    ) -> list[Stage]:
        """Return the weights now and after each part of the change, in order."""
        names, after = self.change.names, self.change.after.weights
        present = self.change.before.weights
        stages = [await self._stage(connection, NOW, stored, present)]
        if WINDOW in names:
            present = present.model_copy(update={WINDOW: after.weights_window_days})
            stages.append(await self._stage(connection, "window", in_window, present))
        if self.change.rescores:
            is_other = present.rule_set != after.rule_set
            present = present.model_copy(update={RULES: after.rule_set})
            name = "rule set" if is_other else "fields and leads"
            rescored_stage = await self._stage(connection, name, scores, present)
            stages += with_copies_apart(rescored_stage) if is_other else [rescored_stage]
        if CONTRAST in names:
            stages.append(with_contrast(stages[-1], after))
        if not names.isdisjoint(BURN):
            stages.append(with_burn(stages[-1], after))
        return stages

    async def _stage(
        self, connection: Connection, name: str, scores: Sequence[WindowScore], weights: WeightsSettings
    ) -> Stage:
        settings = replace(self.change.before.weather, weights=weights)
        copies = CopyBook(settings, Snapshot(connection), UnitsInPool(self.executor))
        inputs = await inputs_of(scores, self.metagraph, registered(self.metagraph), weights, copies)
        return Stage(name=name, inputs=inputs, has_scores=bool(scores))


def _measured_again(source: Source, change: Change, executor: ProcessPoolExecutor) -> dict[str, Rescored]:
    """Return run -> its scores under rules that did not score it, computed from kept inputs.

    This can take long, so no snapshot of the database is held meanwhile.
    """
    before, after = change.before.weights, change.after.weights
    if before.rule_set == after.rule_set:
        return {}

    async def unscored(connection: Connection) -> dict[str, list[WindowScore]]:
        known = _run_ids(await _window(connection, after.rule_set, after.weights_window_days))
        stored = await _window(connection, before.rule_set, after.weights_window_days)
        runs = groupby(stored, key=lambda score: score.run_id)
        return {run_id: list(scores) for run_id, scores in runs if run_id not in known}

    found = {}
    for run_id, scores in source.read(unscored).items():

        async def read(connection: Connection, wanted: str = run_id) -> list[StoredRun]:
            return await history.stored_runs(connection, [wanted], with_manifests=True)

        (run,) = source.read(read)
        found[run_id] = remeasured(run, scores, after.rule_set, change.contract, source.data_dir, executor)
    return found


async def _window(connection: Connection, rule_set: str, days: float) -> list[WindowScore]:
    return await journal.window_scores(connection, rule_set, timedelta(days=days))


def _run_ids(scores: Sequence[WindowScore]) -> list[str]:
    return list(dict.fromkeys(score.run_id for score in scores))
