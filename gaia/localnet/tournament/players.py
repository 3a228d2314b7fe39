"""Catalogue of strategies that try to earn without work, for the tournament."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from gaia.localnet.tournament.world import DAY1_LEAD, FINAL_LEADS, LEADS, SHAPE, Array, World

Flags = npt.NDArray[np.bool_]

COPIED_AFTER: Final = 2.0
"""Hours after its victim at which a copier commits."""


class Kind(StrEnum):
    """Source of a strategy's forecasts."""

    NO_SKILL = "no skill"
    """Public forecasts, or no forecast at all."""
    OWN_MODEL = "own model"
    """A model as good as the median honest miner's, and a trick."""
    COPY = "copy"
    """Another miner's forecast, leaked in a way that the protocol prevents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uid:
    """One hotkey of a player, with its forecast errors."""

    errors: Array
    """Errors (run, lead, field, point)."""
    delivered: Flags | None = None
    """Whether each lead was delivered (run, lead); None: all were."""
    rejected: Flags | None = None
    """Whether the forecast broke its commitment or cannot be weather (run,)."""
    present: Flags | None = None
    """Whether it was registered and reachable (run,); None: always."""
    commit: float = 0.5
    """Hours after the start at which it commits to its forecast."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy; the uids of one operator share their pay."""

    name: str
    kind: Kind
    uids: Callable[[World], list[Uid]]


MEDIAN_SKILL: Final = 0.925
BEST_SKILL: Final = 0.80
_HARDEST = 0.75


def catalogue() -> list[Strategy]:
    """Yield every strategy except the sybils, which have their own sweep."""
    return [*_public(), *_impossible(), *_absent(), *_own_model(), *_copies()]


def own_model(world: World, skill: float = MEDIAN_SKILL) -> Array:
    """Return the errors of one more honest model."""
    return world.calibrated(world.raw_error(skill), skill)


def sybils(model: Array, noises: Array, parts: float) -> list[Uid]:
    """Return uids that share one model, each with its own noise of `parts` times the model's error."""
    size = np.sqrt(np.square(model).sum(axis=-1, keepdims=True))
    return [Uid(errors=model + np.float32(parts) * size * noise) for noise in noises]


def ruined(model: Array, noises: Array, blocks: float) -> list[Uid]:
    """Return uids that share one model, each with pure noise in a random fraction `blocks` of its fields."""
    size = np.sqrt(np.square(model).sum(axis=-1, keepdims=True))
    draw = np.random.default_rng(len(noises)).random((len(noises), *model.shape[:-1], 1))
    return [
        Uid(errors=model + np.where(places < blocks, 5.0 * size * noise, 0.0).astype(np.float32))
        for places, noise in zip(draw, noises, strict=True)
    ]


def mixtures(model: Array, world: World, count: int, parts: float) -> list[Uid]:
    """Return uids that mix one model with public forecasts, in proportions up to `parts`."""
    shares = np.linspace(0.0, parts, count, dtype=np.float32)
    return [Uid(errors=(1 - share) * model + share * world.blend) for share in shares]


def _public() -> Iterator[Strategy]:
    def alone(name: str, errors: Callable[[World], Array]) -> Strategy:
        return Strategy(name, Kind.NO_SKILL, lambda world: [Uid(errors=errors(world))])

    yield alone("GFS", lambda world: world.gfs)
    for parts in (0.01, 0.05, 0.1, 0.2, 0.5):
        yield alone(f"GFS + {parts:.0%} noise", partial(_noisy_gfs, parts))
    yield alone("GFS + 0.06 K noise", _hardly_noisy_gfs)
    yield alone("GFS + 0.06 K offset", lambda world: world.gfs + world.constant_error(0.06))
    yield alone("blended GFS", lambda world: world.blend)
    yield alone("blended GFS, too far", lambda world: world.calibrated(world.gfs, 1.0, by=1.3))
    yield alone("blended GFS, half way", lambda world: world.calibrated(world.gfs, 1.0, by=0.5))
    yield alone(
        "blended GFS + 5% noise", lambda world: sybils(world.blend, world.noise()[None], 0.05)[0].errors
    )
    yield alone("climatology", lambda world: world.climatology)
    yield alone("persistence", lambda world: np.ascontiguousarray(world.persistence))
    yield alone("hedge: GFS, climatology, persistence", _hedge)
    yield alone("gamble: GFS exaggerated", lambda world: world.blended(world.gfs, 1.2))
    yield alone("gamble: a guess a run", _guess)
    yield alone("gamble: one baseline a lead, by chance", _lottery)
    yield Strategy(
        "gamble: 64 guesses around blended GFS",
        Kind.NO_SKILL,
        lambda world: sybils(world.blend, np.stack([world.noise() for _ in range(64)]), 0.05),
    )
    yield alone("constant", _constant)
    yield alone("GFS upside down", _flipped)


def _impossible() -> Iterator[Strategy]:
    def rejected(name: str) -> Strategy:
        return Strategy(
            name,
            Kind.NO_SKILL,
            lambda world: [Uid(errors=world.gfs, rejected=np.ones(world.runs, np.bool_))],
        )

    yield rejected("NaN")
    yield rejected("inf")
    yield rejected("1e38, -1e38")
    yield rejected("swap after the truth is known")
    yield Strategy("truth + 5 K", Kind.NO_SKILL, lambda world: [Uid(errors=world.constant_error(5.0))])


def _absent() -> Iterator[Strategy]:
    def blend_at(name: str, leads: tuple[int, ...]) -> Strategy:
        return Strategy(
            name,
            Kind.NO_SKILL,
            lambda world: [Uid(errors=world.blend, delivered=_only(world, leads))],
        )

    yield blend_at("blended GFS, first lead only", (DAY1_LEAD, FINAL_LEADS[0]))
    yield blend_at("blended GFS, day 1 only", (DAY1_LEAD,))
    yield blend_at("blended GFS, last lead only", (DAY1_LEAD, FINAL_LEADS[-1]))
    yield Strategy(
        "blended GFS, easy runs only",
        Kind.NO_SKILL,
        lambda world: [Uid(errors=world.blend, present=~_hard(world))],
    )
    yield Strategy(
        "blended GFS, registered anew every 5 runs", Kind.NO_SKILL, lambda world: _anew(world, world.blend)
    )


def _own_model() -> Iterator[Strategy]:
    def own(name: str, uids: Callable[[World, Array], list[Uid]], skill: float = MEDIAN_SKILL) -> Strategy:
        return Strategy(name, Kind.OWN_MODEL, lambda world: uids(world, own_model(world, skill)))

    yield own("honest, median model", lambda _world, model: [Uid(errors=model)])
    yield own("honest, best model", lambda _world, model: [Uid(errors=model)], BEST_SKILL)
    yield own("skips hard runs", lambda world, model: [Uid(errors=model, rejected=_hard(world))])
    yield own("cannot be asked in hard runs", lambda world, model: [Uid(errors=model, present=~_hard(world))])
    yield own(
        "leaves out the last lead",
        lambda world, model: [Uid(errors=model, delivered=_only(world, LEADS[:-1]))],
    )
    yield own("registers anew every 5 runs", _anew)
    yield own("registers anew after each bad run", _whitewashed)
    yield own("two equal uids at once", lambda _world, model: [Uid(errors=model)] * 2)
    yield own(
        "ring: 5 losers beside one model",
        lambda world, model: [Uid(errors=model), *(Uid(errors=world.climatology) for _ in range(5))],
    )
    yield Strategy("ring: 5 models averaged, shown 5 times", Kind.OWN_MODEL, _ring)


def _copies() -> Iterator[Strategy]:
    def copy(name: str, count: int, parts: float, delay: float = COPIED_AFTER) -> Strategy:
        def uids(world: World) -> list[Uid]:
            noises = np.stack([world.noise() for _ in range(count)])
            commit = float(world.commits[0]) + delay
            return [Uid(errors=uid.errors, commit=commit) for uid in sybils(world.honest[0], noises, parts)]

        return Strategy(name, Kind.COPY, uids)

    yield copy("copy of the best", 1, 0.0)
    yield copy("copy of the best + 5% noise", 1, 0.05)
    yield copy("copy of the best + 20% noise", 1, 0.2)
    yield copy("20 copies of the best + 5% noise", 20, 0.05)
    yield copy("20 copies of the best + 20% noise", 20, 0.2)
    yield copy("griefing: 10 copies, committed later", 10, 0.0)
    yield copy("griefing: 10 copies, committed at the same moment", 10, 0.0, delay=0.0)


def _noisy_gfs(parts: float, world: World) -> Array:
    return sybils(world.gfs, world.noise()[None], parts)[0].errors


def _hardly_noisy_gfs(world: World) -> Array:
    """Return GFS with noise just above the distance below which gaia-2.9 sees a copy."""
    size = world.constant_error(0.06) / world.weather.weights
    errors: Array = world.gfs + size * world.noise()
    return errors


def _hedge(world: World) -> Array:
    mean: Array = (world.gfs + world.climatology + world.persistence) / np.float32(3.0)
    return mean


def _guess(world: World) -> Array:
    """Return the blend, shifted by a fifth of its error in a random direction for each run."""
    size = np.sqrt(np.square(world.blend).sum(axis=-1, keepdims=True))
    direction = world.rng.choice([-1.0, 1.0], size=(world.runs, 1, 1, 1)).astype(np.float32)
    errors: Array = world.blend + direction * np.float32(0.2) * size * world.weather.weights
    return errors


def _lottery(world: World) -> Array:
    drawn = world.rng.integers(0, 3, size=(world.runs, len(LEADS), 1, 1))
    chosen: Array = np.choose(drawn, [world.gfs, world.blend, world.climatology]).astype(np.float32)
    return chosen


def _constant(world: World) -> Array:
    weights = world.weather.weights
    mean = (world.weather.usual * weights).sum(axis=-1, keepdims=True)
    errors: Array = mean * weights - world.weather.truth
    return errors


def _flipped(world: World) -> Array:
    forecast = (world.weather.truth + world.gfs).reshape(*world.gfs.shape[:-1], *SHAPE)
    errors: Array = forecast[..., ::-1, :].reshape(world.gfs.shape) - world.weather.truth
    return errors


def _only(world: World, leads: tuple[int, ...]) -> Flags:
    return np.tile([lead in leads for lead in LEADS], (world.runs, 1))


def _hard(world: World) -> Flags:
    return world.hardness > np.quantile(world.hardness, _HARDEST)


def _anew(world: World, model: Array) -> list[Uid]:
    """Return one uid per 5 runs, each replacing the one before."""
    turn = np.arange(world.runs) // 5
    return [Uid(errors=model, present=turn == number) for number in np.unique(turn)]


def _whitewashed(world: World, model: Array) -> list[Uid]:
    """Return uids of which each is replaced after a failed run; one run in ten fails."""
    failed = np.arange(world.runs) % 10 == 9
    life = np.cumsum(failed) - failed
    return [
        Uid(errors=model, present=life == number, rejected=failed & (life == number))
        for number in np.unique(life)
    ]


def _ring(world: World) -> list[Uid]:
    mean: Array = np.mean(np.stack([own_model(world) for _ in range(5)]), axis=0)
    return sybils(mean, np.stack([world.noise() for _ in range(5)]), 0.05)
