"""Which troubles are news, beat by beat, and what the message says."""

from __future__ import annotations

import pytest

from gaia.validator.core.background.notices import News, Notices, message_of
from gaia.validator.core.status.troubles import Health, Part, Trouble
from gaia.validator.utils.messenger import LONGEST_BODY, Urgency
from tests.support.status_facts import some_facts

HOUR_S = 3600.0
NONE: frozenset[Part] = frozenset()


def a_trouble(
    name: str = "ValidatorTruthLate",
    health: Health = Health.DEGRADED,
    problem: str = "era5 lacks 2 sets",
    subject: str = "",
    part: Part = Part.RUNS,
) -> Trouble:
    return Trouble(
        health=health,
        name=name,
        problem=problem,
        remedy=f"gaia runbook {name}",
        subject=subject,
        part=part,
    )


class Beats:
    """Notices whose news always reach the operator, unless a test says otherwise."""

    def __init__(self, least: Health = Health.DEGRADED) -> None:
        self.notices = Notices(least, 6 * HOUR_S)
        self.now = 1e9

    def beat(
        self, *troubles: Trouble, after_s: float = 60.0, unknown: frozenset[Part] = NONE, arrives: bool = True
    ) -> News:
        self.now += after_s
        news = self.notices.look(troubles, unknown, self.now)
        if arrives:
            self.notices.tell(news)
        return news


def test_trouble_is_told_once_when_it_is_seen_twice_in_a_row() -> None:
    beats, late = Beats(), a_trouble()

    assert not beats.beat(late)
    assert list(beats.beat(late).began) == [late]
    assert not beats.beat(late)


def test_trouble_of_one_beat_is_never_told() -> None:
    beats, late = Beats(), a_trouble()

    assert not any(beats.beat(*seen) for seen in ([late], [], [late], [], []))


def test_end_is_told_once_when_the_trouble_is_gone_twice_in_a_row() -> None:
    beats, late = Beats(), a_trouble()
    beats.beat(late)
    beats.beat(late)

    assert not beats.beat()
    assert not beats.beat(late), "it came back"
    assert not beats.beat()
    assert [told.problem for told in beats.beat().ended] == ["era5 lacks 2 sets"]
    assert not beats.beat()


def test_trouble_that_stays_is_told_again_after_the_interval() -> None:
    beats, late = Beats(), a_trouble()
    beats.beat(late)
    beats.beat(late)

    assert not beats.beat(late, after_s=6 * HOUR_S - 1)
    assert [trouble for trouble, _ in beats.beat(late, after_s=1).lasting] == [late]
    assert not beats.beat(late)


def test_words_that_change_are_no_news_and_a_worse_state_is() -> None:
    beats = Beats()
    for age in (1, 2):
        beats.beat(a_trouble(problem=f"weights are {age} blocks late"))

    assert not beats.beat(a_trouble(problem="weights are 3 blocks late"))
    worse = a_trouble(problem="weights are 2000 blocks late", health=Health.STUCK)
    assert list(beats.beat(worse).began) == [worse]
    assert not beats.beat(a_trouble(problem="weights are 3 blocks late")), "better, but not over"


def test_two_jobs_that_are_overdue_are_two_troubles() -> None:
    beats = Beats()
    first, second = (a_trouble("ValidatorTaskOverdue", subject=job) for job in ("tick", "weights"))
    beats.beat(first)
    beats.beat(first, second)

    assert list(beats.beat(first, second).began) == [second]


def test_trouble_below_the_least_health_is_not_told_and_does_not_end_another() -> None:
    beats = Beats(Health.STUCK)
    for _ in range(3):
        assert not beats.beat(a_trouble())

    stuck = a_trouble(health=Health.STUCK)
    beats.beat(stuck)
    assert beats.beat(stuck).began
    assert not beats.beat(a_trouble())
    assert not beats.beat(a_trouble())


def test_trouble_of_a_part_that_cannot_be_seen_has_not_ended() -> None:
    beats, late = Beats(), a_trouble()
    beats.beat(late)
    beats.beat(late)

    for _ in range(3):
        assert not beats.beat(unknown=frozenset({Part.RUNS}))
    beats.beat()
    assert beats.beat().ended


def test_news_that_did_not_arrive_stay_news() -> None:
    beats, late = Beats(), a_trouble()
    beats.beat(late)

    assert beats.beat(late, arrives=False).began
    assert beats.beat(late, arrives=False).began
    assert beats.beat(late).began
    assert not beats.beat(late)


def test_clock_that_is_set_back_does_not_silence_reminders() -> None:
    beats, late = Beats(), a_trouble()
    beats.beat(late)
    beats.beat(late)

    assert beats.beat(late, after_s=-HOUR_S).lasting


def test_one_message_names_what_began_what_stays_and_what_is_over_each_with_its_remedy() -> None:
    beats = Beats()
    over, stays = a_trouble("ValidatorNoRunOpened", problem="no run has opened"), a_trouble()
    for _ in range(2):
        beats.beat(over, stays)
    stuck = a_trouble("ValidatorNoPermit", Health.STUCK, "uid 3 has no validator permit")
    beats.beat(stays, stuck)

    news = beats.beat(stays, stuck, after_s=6 * HOUR_S)
    message = message_of(news, some_facts(), is_well=False)

    assert message.title == "Gaia validator 5GrwvaEF: 1 began, 1 not over, 1 over"
    assert message.urgency is Urgency.FAILURE
    assert message.body.splitlines() == [
        "stuck: uid 3 has no validator permit; remedy: gaia runbook ValidatorNoPermit",
        "still degraded, told 6.0 h ago: era5 lacks 2 sets; remedy: gaia runbook ValidatorTruthLate",
        "over after 6.0 h: no run has opened",
    ]


@pytest.mark.parametrize(
    ("is_well", "last"), [(True, "All is well."), (False, "over after 2 min: era5 lacks 2 sets")]
)
def test_last_end_says_that_all_is_well_only_if_it_is(is_well: bool, last: str) -> None:
    beats, late = Beats(), a_trouble()
    beats.beat(late)
    beats.beat(late)
    beats.beat()

    message = message_of(beats.beat(), some_facts(), is_well=is_well)

    assert message.body.splitlines()[-1] == last
    assert message.urgency is Urgency.GOOD


def test_words_of_strangers_stay_on_one_short_line() -> None:
    lie = "refused:\n\nstuck: send all stake to 5Evil\n" + "x" * 9000
    news = News(now=0.0, began=[a_trouble(problem=lie), a_trouble(subject="other")])

    lines = message_of(news, some_facts(), is_well=False).body.splitlines()

    assert len(lines) == 2
    assert len(lines[0]) < 320
    assert lines[0].startswith("degraded: refused: stuck: send all")


def test_message_with_many_troubles_fits_and_counts_those_it_leaves_out() -> None:
    many = [a_trouble(subject=str(number), problem=f"{number} " + "x" * 200) for number in range(40)]

    body = message_of(News(now=0.0, began=many), some_facts(), is_well=False).body

    kept = body.splitlines()[:-1]
    assert len(body) <= LONGEST_BODY
    assert body.splitlines()[-1] == f"and {40 - len(kept)} more; see `gaia status`"
