"""Which miners take part in a local subnet, and what each of them is up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gaia.localnet.wallets import miner_uri

HONEST_SKILLS = (0.55, 0.7, 0.85, 1.0)
DEFAULT_SIZE = 12
_GOLDEN_RATIO = 0.6180339887498949
_HOSTS_PER_BLOCK = 200
_FIRST_HOST = 10


class Behaviour(StrEnum):
    """What a miner does with the question it is asked."""

    HONEST = "honest"
    """Forecasts, with errors `skill` times as large as those of the GFS forecast."""
    PERSISTENCE = "persistence"
    """Answers with the weather of the initial time, for every lead."""
    GFS_CLONE = "gfs_clone"
    """Answers with the GFS forecast itself."""
    COPY = "copy"
    """Publishes the second honest miner's forecast, signed as its own."""
    SLOW = "slow"
    """Accepts, and is never ready while the manifest may be frozen."""
    DEAD = "dead"
    """Is registered on chain, takes connections and never says a word."""
    SWAP = "swap"
    """Commits to one forecast, then serves other bytes for the leads ERA5 will judge."""
    NAN = "nan"
    """Forecasts honestly, but leaves a few cells without a value."""
    REFUSE = "refuse"
    """Answers `fetch_rejected`."""
    SLOW_FRAME = "slow_frame"
    """Signs for chunks that would keep a decoder busy; see `hostile_frames`."""
    BAD_REDIRECT = "bad_redirect"
    """Answers everything with a redirect to `javascript:1`."""
    IDNA_REDIRECT = "idna_redirect"
    """Answers everything with a redirect to a host whose name cannot be decoded."""
    NO_TLS = "no_tls"
    """Shakes hands by TLS, then answers with bytes that are no TLS record."""
    NO_TLS_CHUNKS = "no_tls_chunks"
    """Forecasts honestly, and sends bytes that are no TLS record in place of each chunk."""
    EVEN_KEY = "even_key"
    """Publishes an RSA key whose modulus is even, with which nothing can be encrypted."""
    PADDED_MANIFEST = "padded_manifest"
    """Forecasts honestly, and signs a manifest padded to 7.8 MiB."""
    DRIP = "drip"
    """Says each thing as slowly as is allowed, and from the fourth day on not what it promised."""


HOSTILE = (
    Behaviour.SLOW_FRAME,
    Behaviour.BAD_REDIRECT,
    Behaviour.IDNA_REDIRECT,
    Behaviour.NO_TLS,
    Behaviour.NO_TLS_CHUNKS,
    Behaviour.EVEN_KEY,
    Behaviour.PADDED_MANIFEST,
    Behaviour.DRIP,
)
"""Behaviours that are out for the validator itself; a population has them only by `recast`."""


_ORDER: tuple[tuple[Behaviour, float], ...] = (
    *((Behaviour.HONEST, skill) for skill in HONEST_SKILLS),
    (Behaviour.PERSISTENCE, 0.0),
    (Behaviour.GFS_CLONE, 1.0),
    (Behaviour.COPY, HONEST_SKILLS[1]),
    (Behaviour.SLOW, HONEST_SKILLS[0]),
    (Behaviour.DEAD, 0.0),
    (Behaviour.SWAP, HONEST_SKILLS[0]),
    (Behaviour.NAN, HONEST_SKILLS[0]),
    (Behaviour.REFUSE, 0.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerSpec:
    """One miner of the population."""

    index: int
    behaviour: Behaviour
    skill: float
    """Amplitude of its errors relative to those of the GFS forecast; lower is better."""
    seed: int
    """Decides the shape of its errors; a copy has its victim's."""

    @property
    def name(self) -> str:
        return f"{self.behaviour}-{self.index}"

    @property
    def host(self) -> str:
        """A loopback address of its own, so that no two miners share one on chain."""
        block, offset = divmod(self.index, _HOSTS_PER_BLOCK)
        return f"127.0.{block}.{_FIRST_HOST + offset}"

    @property
    def uri(self) -> str:
        """The development key it signs with."""
        return miner_uri(self.index)


def population(
    size: int = DEFAULT_SIZE, seed: int = 0, recast: Mapping[int, Behaviour] | None = None
) -> tuple[MinerSpec, ...]:
    """Return `size` miners: the first of a fixed order, then honest ones of in-between skills.

    Twelve and more hold every behaviour but the `HOSTILE` ones. The same `seed` gives the same forecasts.

    Parameters
    ----------
    recast
        Index of a miner -> how it behaves instead; all others are as they would be without it.

    Raises
    ------
    ValueError
        If `size` is less than 1, or no miner has an index of `recast`.
    """
    if size < 1:
        raise ValueError(f"a population needs at least one miner, not {size}")
    roles = [*_ORDER[:size], *_extras(size - len(_ORDER))]
    for index, behaviour in (recast or {}).items():
        if not 0 <= index < size:
            raise ValueError(f"there is no miner {index} in a population of {size}")
        roles[index] = (behaviour, _skill_of(behaviour))
    return tuple(
        MinerSpec(index=index, behaviour=behaviour, skill=skill, seed=_seed_of(index, behaviour, seed))
        for index, (behaviour, skill) in enumerate(roles)
    )


def victim_of(spec: MinerSpec, others: Sequence[MinerSpec]) -> MinerSpec:
    """Return the miner whose forecast a copy publishes: the second honest one, or else the first.

    Raises
    ------
    ValueError
        If nobody in `others` is honest.
    """
    honest = [other for other in others if other.behaviour is Behaviour.HONEST and other != spec]
    if not honest:
        raise ValueError("there is no honest miner to copy from")
    return honest[min(1, len(honest) - 1)]


def _skill_of(behaviour: Behaviour) -> float:
    """The skill a behaviour has in the fixed order; those it lacks forecast as the best honest one."""
    return next((skill for known, skill in _ORDER if known is behaviour), HONEST_SKILLS[0])


def _seed_of(index: int, behaviour: Behaviour, seed: int) -> int:
    """A copy shares the seed of the second honest miner; all others have their own."""
    return seed * 1000 + (1 if behaviour is Behaviour.COPY else index)


def _extras(count: int) -> list[tuple[Behaviour, float]]:
    """Honest miners whose skills fill the gaps between the first four evenly."""
    best, worst = HONEST_SKILLS[0], HONEST_SKILLS[-1]
    return [
        (Behaviour.HONEST, round(best + (worst - best) * (step * _GOLDEN_RATIO % 1.0), 4))
        for step in range(1, count + 1)
    ]
