"""The population of a local subnet: its miners and their behaviours."""

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
    """How a miner answers requests."""

    HONEST = "honest"
    """Forecasts honestly; its errors are `skill` times those of the GFS forecast."""
    PERSISTENCE = "persistence"
    """Publishes the weather of the initial time for every lead."""
    GFS_CLONE = "gfs_clone"
    """Publishes the GFS forecast."""
    COPY = "copy"
    """Publishes the second honest miner's forecast under its own signature."""
    SLOW = "slow"
    """Accepts the job, but is not ready within the freeze window."""
    DEAD = "dead"
    """Accepts connections and never answers."""
    SWAP = "swap"
    """Commits to one forecast, then serves other bytes for the leads scored against ERA5."""
    NAN = "nan"
    """Forecasts honestly, but a few cells are NaN."""
    REFUSE = "refuse"
    """Answers `fetch_rejected`."""
    SLOW_FRAME = "slow_frame"
    """Signs chunks that are slow to decode; see `hostile_frames`."""
    BAD_REDIRECT = "bad_redirect"
    """Answers every request with a redirect to `javascript:1`."""
    IDNA_REDIRECT = "idna_redirect"
    """Answers every request with a redirect to a host whose name cannot be decoded."""
    NO_TLS = "no_tls"
    """Completes the TLS handshake, then answers with bytes that are not a TLS record."""
    NO_TLS_CHUNKS = "no_tls_chunks"
    """Forecasts honestly, but sends bytes that are not a TLS record instead of each chunk."""
    EVEN_KEY = "even_key"
    """Publishes an RSA key with an even modulus, which cannot encrypt."""
    PADDED_MANIFEST = "padded_manifest"
    """Forecasts honestly, and signs a manifest padded to 7.8 MiB."""
    DRIP = "drip"
    """Sends everything as slowly as allowed, and from the fourth day on other bytes than committed."""


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
"""Behaviours that attack the validator itself; a population has them only through `recast`."""


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
    """Seed of the shape of its errors; a copy has its victim's."""

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
        """Development key that it signs with."""
        return miner_uri(self.index)


def population(
    size: int = DEFAULT_SIZE, seed: int = 0, recast: Mapping[int, Behaviour] | None = None
) -> tuple[MinerSpec, ...]:
    """Return `size` miners: first those of a fixed order, then honest ones with skills in between.

    Twelve or more miners show every behaviour except the `HOSTILE` ones. Equal seeds give equal forecasts.

    Parameters
    ----------
    recast
        Index of a miner -> its new behaviour; all others stay the same.

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
    """Return the miner whose forecast a copy publishes: the second honest one, else the first.

    Raises
    ------
    ValueError
        If no miner in `others` is honest.
    """
    honest = [other for other in others if other.behaviour is Behaviour.HONEST and other != spec]
    if not honest:
        raise ValueError("there is no honest miner to copy from")
    return honest[min(1, len(honest) - 1)]


def _skill_of(behaviour: Behaviour) -> float:
    """Return the skill of a behaviour in the fixed order; others get that of the best honest miner."""
    return next((skill for known, skill in _ORDER if known is behaviour), HONEST_SKILLS[0])


def _seed_of(index: int, behaviour: Behaviour, seed: int) -> int:
    """Return the seed of a miner; a copy shares that of the second honest miner."""
    return seed * 1000 + (1 if behaviour is Behaviour.COPY else index)


def _extras(count: int) -> list[tuple[Behaviour, float]]:
    """Return honest miners whose skills fill the gaps between the first four evenly."""
    best, worst = HONEST_SKILLS[0], HONEST_SKILLS[-1]
    return [
        (Behaviour.HONEST, round(best + (worst - best) * (step * _GOLDEN_RATIO % 1.0), 4))
        for step in range(1, count + 1)
    ]
