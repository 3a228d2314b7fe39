"""Who takes part in a local subnet."""

from __future__ import annotations

import pytest

from gaia.localnet.population import HONEST_SKILLS, HOSTILE, Behaviour, population, victim_of


def test_twelve_miners_hold_every_behaviour_that_is_not_hostile_and_four_graded_honest_ones() -> None:
    miners = population()

    honest = [miner.skill for miner in miners if miner.behaviour is Behaviour.HONEST]
    assert len(miners) == 12
    assert {miner.behaviour for miner in miners} == set(Behaviour) - set(HOSTILE)
    assert honest == list(HONEST_SKILLS)


def test_more_miners_are_honest_and_of_skills_between_the_first_four() -> None:
    miners = population(40)

    extras = miners[12:]
    skills = [miner.skill for miner in miners if miner.behaviour is Behaviour.HONEST]
    assert {miner.behaviour for miner in extras} == {Behaviour.HONEST}
    assert all(HONEST_SKILLS[0] < miner.skill < HONEST_SKILLS[-1] for miner in extras)
    assert len(set(skills)) == len(skills)


def test_fewer_miners_are_the_first_of_the_same_order() -> None:
    assert population(5) == population()[:5]


def test_population_without_miners_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        population(0)


@pytest.mark.parametrize("size", [12, 256, 600])
def test_every_miner_has_an_address_and_a_key_of_its_own(size: int) -> None:
    miners = population(size)

    assert len({miner.host for miner in miners}) == size
    assert len({miner.uri for miner in miners}) == size
    assert all(all(0 <= int(part) <= 255 for part in miner.host.split(".")) for miner in miners)


def test_first_miner_listens_on_127_0_0_10() -> None:
    assert population(1)[0].host == "127.0.0.10"


def test_seed_shifts_the_errors_and_nothing_else() -> None:
    one, other = population(seed=1), population(seed=2)

    assert all(a.seed != b.seed for a, b in zip(one, other, strict=True))
    assert [(a.behaviour, a.skill) for a in one] == [(b.behaviour, b.skill) for b in other]


def test_copy_has_the_skill_and_the_seed_of_the_second_honest_miner() -> None:
    miners = population(seed=7)
    copy = next(miner for miner in miners if miner.behaviour is Behaviour.COPY)

    victim = victim_of(copy, miners)

    assert victim == miners[1]
    assert (copy.seed, copy.skill) == (victim.seed, victim.skill)


def test_copy_has_nobody_to_copy_from_in_a_population_of_liars() -> None:
    copy = next(miner for miner in population() if miner.behaviour is Behaviour.COPY)

    with pytest.raises(ValueError, match="no honest miner"):
        victim_of(copy, [copy])


def test_miner_that_is_recast_leaves_all_others_as_they_were() -> None:
    usual, recast = population(12, 3), population(12, 3, {8: Behaviour.DRIP})

    differing = [place for place in range(12) if usual[place] != recast[place]]
    assert differing == [8]
    assert (recast[8].behaviour, recast[8].seed) == (Behaviour.DRIP, usual[8].seed)


def test_miner_that_is_not_there_cannot_be_recast() -> None:
    with pytest.raises(ValueError, match="no miner 12"):
        population(12, recast={12: Behaviour.DRIP})
