"""Applies a change to the weights part by part, so that each part's effect on a miner can be told."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Final

from gaia.cli.tables import shown
from gaia.validator.core.weights.inputs import NOTHING_FOUND, VectorInputs

if TYPE_CHECKING:
    from gaia.validator.utils.settings.weights import WeightsSettings

NOW: Final = "now"
SHARED_WORK: Final = "shared work"
"""The part of a change of rules that is due to copies."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The weights after one part of a change, and what they are computed from."""

    name: str
    inputs: VectorInputs
    has_scores: bool = True
    """Whether there is any score; without one no weights are set."""

    @cached_property
    def by_uid(self) -> dict[int, float] | None:
        """Uid -> weight; None: none are set."""
        return self.inputs.weights() if self.has_scores else None

    @cached_property
    def weights(self) -> dict[str, float]:
        """Hotkey -> weight."""
        hotkeys = {uid: hotkey for hotkey, uid in self.inputs.present.uids.items()}
        return {hotkeys[uid]: weight for uid, weight in (self.by_uid or {}).items()}

    @cached_property
    def means(self) -> dict[str, float]:
        """Hotkey -> mean of its run scores that count."""
        found: dict[str, list[float]] = {}
        for run in self.inputs.scores():
            for hotkey, score in run.items():
                if score is not None:
                    found.setdefault(hotkey, []).append(score)
        return {hotkey: fmean(scores) for hotkey, scores in found.items()}

    @cached_property
    def lead_means(self) -> dict[str, dict[int, float]]:
        """Hotkey -> lead in hours -> mean of its scores at it."""
        found: dict[str, dict[int, list[float]]] = {}
        for entries in self.inputs.runs.values():
            for hotkey, entry in entries.items():
                for lead, score in entry.leads.items():
                    found.setdefault(hotkey, {}).setdefault(lead, []).append(score)
        return {hotkey: {lead: fmean(s) for lead, s in leads.items()} for hotkey, leads in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerChange:
    """One hotkey's weight, as it is and as it would be."""

    uid: int
    hotkey: str
    now: float
    then: float
    change: float
    score_now: float | None
    """Mean score over the runs in which it counts; None: no score counts."""
    score_then: float | None
    parts: Mapping[str, float]
    """Part of the change -> what it adds to the weight."""
    why: str
    """The part that adds or takes most, in words, and the other parts; empty if the weight stays."""


def with_copies_apart(stage: Stage) -> list[Stage]:
    """Return a stage of other rules as two, if shared work plays a part: without copies, then with them."""
    if not stage.inputs.found.pairs:
        return [stage]
    alone = replace(stage, inputs=replace(stage.inputs, found=NOTHING_FOUND))
    return [alone, replace(stage, name=SHARED_WORK)]


def with_contrast(stage: Stage, settings: WeightsSettings) -> Stage:
    """Return the stage after `stage` in which the contrast is that of `settings`."""
    terms = replace(stage.inputs.terms, contrast_gamma=settings.contrast_gamma)
    return replace(stage, name="contrast", inputs=replace(stage.inputs, terms=terms))


def with_burn(stage: Stage, settings: WeightsSettings) -> Stage:
    """Return the stage after `stage` in which the burn is that of `settings`."""
    terms = replace(
        stage.inputs.terms,
        burn_enabled=settings.burn_enabled,
        burn_fraction=settings.burn_fraction,
        burn_hotkey=settings.burn_hotkey,
    )
    return replace(stage, name="burn", inputs=replace(stage.inputs, terms=terms))


def miner_changes(stages: Sequence[Stage]) -> list[MinerChange]:
    """Return every hotkey that has a score or a weight, now or then; the largest change first."""
    first, last = stages[0], stages[-1]
    uids = last.inputs.present.uids
    concerned = {hotkey for stage in (first, last) for hotkey in (*stage.weights, *stage.means)}
    rows = [_change(hotkey, uids[hotkey], stages) for hotkey in concerned & uids.keys()]
    return sorted(rows, key=lambda row: (-abs(row.change), row.uid))


def _change(hotkey: str, uid: int, stages: Sequence[Stage]) -> MinerChange:
    first, last = stages[0], stages[-1]
    now, then = first.weights.get(hotkey, 0.0), last.weights.get(hotkey, 0.0)
    steps = list(itertools.pairwise(stages))
    parts = {
        after.name: after.weights.get(hotkey, 0.0) - before.weights.get(hotkey, 0.0)
        for before, after in steps
    }
    why = "" if now == then else _reason(hotkey, steps, parts)
    return MinerChange(
        uid=uid,
        hotkey=hotkey,
        now=now,
        then=then,
        change=then - now,
        score_now=first.means.get(hotkey),
        score_then=last.means.get(hotkey),
        parts=parts,
        why=why,
    )


def _reason(hotkey: str, steps: Sequence[tuple[Stage, Stage]], parts: Mapping[str, float]) -> str:
    before, after = max(steps, key=lambda step: abs(parts[step[1].name]))
    others = [f"{name} {signed(part)}" for name, part in parts.items() if part and name != after.name]
    also = f"; also {', '.join(others)}" if others else ""
    return f"{after.name}{_detail(hotkey, before, after)}{also}"


def percent(share: float) -> str:
    """Return a share in percent, in at most six letters.

    >>> percent(0.1234567), percent(1.0)
    ('12.346', '100.00')
    """
    return f"{100.0 * share:.3f}"[:6]


def signed(change: float) -> str:
    """Return a change in percent with its sign; a dash if there is none.

    >>> signed(0.05), signed(-1.0), signed(0.0)
    ('+5.000', '-100.00', '-')
    """
    return f"{'+' if change > 0 else '-'}{percent(abs(change))}" if change else "-"


def _detail(hotkey: str, before: Stage, after: Stage) -> str:
    """Return what of one part concerns a hotkey, as the end of a sentence."""
    if after.name == SHARED_WORK:
        return _overlap(hotkey, after)
    if before.inputs.runs == after.inputs.runs and before.inputs.terms.rule == after.inputs.terms.rule:
        return ""
    was, became = before.means.get(hotkey), after.means.get(hotkey)
    if was == became:
        return ": scores of others"
    told = f": mean score {shown(was)} -> {shown(became)}"
    leads, earlier = after.lead_means.get(hotkey, {}), before.lead_means.get(hotkey, {})
    if before.inputs.terms.rule != after.inputs.terms.rule:
        # Scores of two rule sets have two scales, so a difference would say nothing.
        worst = min(leads, key=lambda lead: (leads[lead], lead), default=None)
        return told if worst is None else f"{told}, lowest at +{worst} h ({shown(leads[worst])})"
    moved = {lead: leads[lead] - earlier[lead] for lead in leads if lead in earlier}
    most = max(moved, key=lambda lead: (abs(moved[lead]), -lead), default=None)
    return told if most is None or not moved[most] else f"{told}, most at +{most} h ({moved[most]:+.4f})"


def _overlap(hotkey: str, stage: Stage) -> str:
    shares = [
        (part, other if one == hotkey else one)
        for one, other, part in stage.inputs.found.pairs
        if hotkey in (one, other)
    ]
    if not shares:
        return " of others"
    part, other = max(shares)
    return f": overlap {shown(part)} with uid {stage.inputs.present.uids.get(other, '?')}"
