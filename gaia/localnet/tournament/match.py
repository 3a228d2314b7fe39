"""Plays honest miners and other players against each other under the real rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gaia.localnet.tournament.players import Uid
from gaia.localnet.tournament.world import DAY1_LEAD, FIELDS, FINAL_LEADS, LEADS, Array, World
from gaia.tasks.defined_tasks.weather.rules import RULE_SETS, Component
from gaia.tasks.defined_tasks.weather.validator.blends import best_blend
from gaia.tasks.defined_tasks.weather.validator.copies.sketches import in_units, overlaps, residual_errors
from gaia.validator.core.weights.rules import WEIGHT_RULES, Copies, Run
from gaia.validator.core.weights.rules.gaia_next import lower_confidence_skill

Floats = npt.NDArray[np.float64]

WINDOW: Final = 15
EVERY: Final = 5
CONTRAST_GAMMA: Final = 1.3
UNDEFINED_AT_TIMES: Final = ("acc", "pattern_correlation")
_LEAST_VARIANCE = 1e-24


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores and errors of one uid over all runs."""

    uid: Uid
    runs: list[float | None]
    """Score of each run; None if it was not registered then."""
    raw: Array
    """Raw errors against ERA5, in units of the best baseline's error (run, lead x field x point)."""
    residual: Array
    """Residual errors (run, lead x field x point); both are 0 where nothing was delivered."""
    given: Array
    """1 for each delivered lead, else 0 (run, lead)."""


@dataclass(frozen=True, slots=True)
class Pay:
    """Mean shares of the weight, by uid."""

    honest: Floats
    player: Floats
    """Shares of the uids of the player."""


class Match:
    """One world under one rule set, in which players compete with the same honest miners."""

    def __init__(self, world: World, rule_set: str) -> None:
        self.world = world
        self._rules = RULE_SETS[rule_set]
        self._weights = WEIGHT_RULES[rule_set]
        self._sees_copies = rule_set != "gaia-2.9"
        public = {"gfs": world.gfs, "climatology": world.climatology, "persistence": world.persistence}
        self._public_mse = {f"mse_{name}": _products_of(one, one) for name, one in public.items()}
        self._public_mse["mse_blend"] = _best_blends(public)
        best = np.minimum.reduce(list(self._public_mse.values()))
        self._unit = best[:, 1:, :, None, None]
        self._public = np.stack(list(public.values()), axis=-2)[:, 1:]
        self._honest = [
            self.scored(Uid(errors=errors, commit=float(commit)))
            for errors, commit in zip(world.honest, world.commits, strict=True)
        ]
        self._among_honest = _gram_matrices(self._honest, self._honest)

    def scored(self, uid: Uid) -> Scored:
        """Return the scores and errors of one uid, scored by the rule set."""
        measured = {**self._measures(uid.errors), **self._public_mse}
        scores = [self._run_score(uid, measured, run) for run in range(self.world.runs)]
        given = np.ones(uid.errors[:, 1:].shape[:2], np.float32)
        if uid.delivered is not None:
            given *= uid.delivered[:, 1:]
        if uid.present is not None:
            given *= uid.present[:, None]
        final = uid.errors[:, 1:] * given[..., None, None]
        raw = in_units(final[..., None, :], self._public, self._unit)[..., 0, :]
        residual = residual_errors(final[..., None, :], self._public)[..., 0, :]
        return Scored(uid, scores, _flat(raw), _flat(residual), given)

    def honest_scores(self) -> Floats:
        """Return the mean score of each honest miner over all runs."""
        return np.array([np.mean([score for score in one.runs if score is not None]) for one in self._honest])

    def pay(self, players: Sequence[Scored] = ()) -> Pay:
        """Return the mean pay over windows that end every few runs, with `players` beside the honest miners."""
        everybody = [*self._honest, *players]
        names = [f"{number:03d}" for number in range(len(everybody))]
        matrices = self._all_gram_matrices(players)
        ends = range(min(WINDOW, self.world.runs), self.world.runs + 1, EVERY)
        total = np.zeros(len(everybody))
        for end in ends:
            window = slice(max(0, end - WINDOW), end)
            runs = [_run(names, everybody, run) for run in range(window.start, end)]
            copies = self._copies(names, everybody, runs, matrices[:, window].sum(axis=1))
            paid = self._weights.shares(runs, set(names) & set(runs[-1]), CONTRAST_GAMMA, copies)
            total += [paid.get(name, 0.0) for name in names]
        total /= len(ends)
        count = len(self._honest)
        return Pay(total[:count], total[count:])

    def overlapping_pairs(self) -> float:
        """Return the fraction of pairs of honest miners that overlap in the last window."""
        everybody = self._honest
        names = [f"{number:03d}" for number in range(len(everybody))]
        window = slice(max(0, self.world.runs - WINDOW), self.world.runs)
        runs = [_run(names, everybody, run) for run in range(window.start, window.stop)]
        overlap = self._copies(names, everybody, runs, self._among_honest[:, window].sum(axis=1)).overlap
        shared = sum(len(others) - 1 for others in overlap.values())
        return shared / (len(names) * (len(names) - 1))

    def _copies(
        self, names: Sequence[str], everybody: Sequence[Scored], runs: Sequence[Run], matrices: Floats
    ) -> Copies:
        earning = [place for place, name in enumerate(names) if lower_confidence_skill(runs, name) > 0.0]
        if not self._sees_copies or not earning:
            return Copies()
        raw, residual, in_common = matrices[:, earning][:, :, earning]
        shared = overlaps(raw / np.maximum(in_common, 1.0), residual)
        return Copies(
            overlap={
                names[place]: {names[earning[other]]: float(row[other]) for other in np.flatnonzero(row)}
                for place, row in zip(earning, shared, strict=True)
            },
            committed={name: one.uid.commit for name, one in zip(names, everybody, strict=True)},
        )

    def _all_gram_matrices(self, players: Sequence[Scored]) -> Floats:
        """Return the Gram matrices (raw, residual, number of common leads; run, uid, uid) of all uids."""
        if not players:
            return self._among_honest
        across, among = _gram_matrices(self._honest, players), _gram_matrices(players, players)
        above = np.concatenate([self._among_honest, across], axis=-1)
        below = np.concatenate([np.swapaxes(across, -1, -2), among], axis=-1)
        return np.concatenate([above, below], axis=-2)

    def _run_score(self, uid: Uid, measured: Mapping[str, Any], run: int) -> float | None:
        if uid.present is not None and not uid.present[run]:
            return None
        if uid.rejected is not None and uid.rejected[run]:
            return self._rules.worst
        leads = [
            lead for place, lead in enumerate(LEADS) if uid.delivered is None or uid.delivered[run, place]
        ]
        scores: dict[int, float] = {}
        day1 = None
        for lead in leads:
            components = self._components(measured, run, lead)
            if lead == DAY1_LEAD:
                day1 = self._rules.day1_score(components)
            else:
                scores[lead] = self._rules.lead_score(components, FIELDS)
        return self._rules.overall_score(day1, scores, FINAL_LEADS)

    def _components(self, measured: Mapping[str, Any], run: int, lead: int) -> list[Component]:
        place = LEADS.index(lead)
        rows = {measure: values[run, place].tolist() for measure, values in measured.items()}
        components = []
        for column, name in enumerate(FIELDS):
            row: dict[str, Any] = {measure: values[column] for measure, values in rows.items()}
            for measure in UNDEFINED_AT_TIMES:
                if math.isnan(row[measure]):
                    row[measure] = None
            components.append(Component(field=name, lead_hours=lead, mae=0.0, bias=0.0, **row))
        return components

    def _measures(self, errors: Array) -> dict[str, Floats]:
        """Return the measures of all runs; NaN where a correlation is undefined."""
        world, weights = self.world, self.world.weather.weights
        mse = np.square(errors).sum(axis=-1).astype(np.float64)
        # gaia-2.9 subtracts the mean error, which it takes from the truth.
        corrected = mse - np.square((errors * weights).sum(axis=-1))
        gfs, climatology = self._public_mse["mse_gfs"], self._public_mse["mse_climatology"]
        usual, truth = world.climatology, world.weather.truth
        return {
            "mse": mse,
            "rmse": np.sqrt(mse),
            "acc": _correlation(errors - usual, -usual, weights),
            "skill_climatology": 1.0 - corrected / climatology,
            "skill_gfs": 1.0 - corrected / gfs,
            "pattern_correlation": _correlation(truth + errors, truth + world.gfs, weights),
            "clone_distance": np.square(errors - world.gfs).sum(axis=-1).astype(np.float64),
        }


def _best_blends(public: Mapping[str, Array]) -> Floats:
    """Return the error of the best possible blend (run, lead, field), as the validator computes it."""
    names = sorted(public)
    products = {
        (one, other): _products_of(public[one], public[other])
        for place, one in enumerate(names)
        for other in names[place:]
    }
    blends = np.empty(next(iter(products.values())).shape)
    for place in np.ndindex(blends.shape):
        blends[place] = best_blend({pair: float(values[place]) for pair, values in products.items()})
    return blends


def _products_of(one: Array, other: Array) -> Floats:
    sums: Floats = (one * other).sum(axis=-1, dtype=np.float64)
    return sums


def _correlation(one: Array, other: Array, weights: Array) -> Floats:
    one, other = (values - (values * weights).sum(-1, keepdims=True) * weights for values in (one, other))
    variance = np.square(one).sum(-1, dtype=np.float64) * np.square(other).sum(-1, dtype=np.float64)
    product = (one * other).sum(-1, dtype=np.float64)
    defined = variance > _LEAST_VARIANCE
    result: Floats = np.divide(product, np.sqrt(variance), out=np.full_like(product, np.nan), where=defined)
    return result


def _gram_matrices(some: Sequence[Scored], others: Sequence[Scored]) -> Floats:
    raw = np.stack([one.raw for one in some], 1) @ np.stack([one.raw for one in others], 2)
    residual = np.stack([one.residual for one in some], 1) @ np.stack([one.residual for one in others], 2)
    in_common = np.stack([one.given for one in some], 1) @ np.stack([one.given for one in others], 2)
    return np.stack([raw, residual, in_common]).astype(np.float64)


def _run(names: Sequence[str], everybody: Sequence[Scored], run: int) -> Run:
    scores = ((name, one.runs[run]) for name, one in zip(names, everybody, strict=True))
    return {name: score for name, score in scores if score is not None}


def _flat(fields: npt.NDArray[np.floating]) -> Array:
    return np.ascontiguousarray(fields.reshape(len(fields), -1), np.float32)
