"""Which findings are worth a message."""

from __future__ import annotations

from collections.abc import Sequence

from gaia.cli.watch.findings import Finding, State, standing, unreadable
from gaia.cli.watch.news import UNREADABLE_LOOKS, News
from gaia.validator.utils.identities import Hotkey
from gaia.validator.utils.messenger import Urgency

HOUR = 3600.0
WELL = Finding(state=State.WELL, sentence="the weights are 5 blocks old")
OLD = Finding(state=State.OLD, sentence="the weights are 900 blocks old", remedy="look at `gaia status`")
LOST = unreadable(["no answer"])
STILL = standing(["ws://a stands at block 5"])


def told(findings: Sequence[Finding], step_s: float = 60.0) -> list[str]:
    """Return the titles of the messages about findings that come one step apart; "" for none."""
    news = News(Hotkey("5Grwvaef"), 6 * HOUR)
    titles = []
    for number, each in enumerate(findings):
        message = news.of(each, step_s * number)
        titles.append(message.title.partition(": ")[2] if message else "")
        if message is not None:
            news.taken(each, step_s * number)
    return titles


def test_trouble_is_told_once_and_so_is_its_end() -> None:
    assert told([WELL, OLD, OLD, OLD, WELL, WELL]) == ["", "old", "", "", "well again", ""]


def test_trouble_that_stays_is_told_again_after_six_hours() -> None:
    assert told([OLD, OLD, OLD, OLD], step_s=3 * HOUR) == ["old", "", "old", ""]


def test_lost_node_is_told_at_the_third_look_in_a_row() -> None:
    assert UNREADABLE_LOOKS == 3
    assert told([LOST, LOST, WELL, LOST, LOST, LOST, LOST]) == ["", "", "", "", "", "unreadable", ""]


def test_node_that_stands_still_is_told_at_once() -> None:
    assert told([WELL, STILL, STILL, WELL]) == ["", "standing", "", "well again"]


def test_one_lost_look_neither_ends_a_trouble_nor_repeats_it() -> None:
    assert told([OLD, LOST, OLD]) == ["old", "", ""]


def test_message_that_reached_nobody_is_news_at_the_next_look() -> None:
    news = News(Hotkey("5Grwvaef"), 6 * HOUR)

    assert [news.of(OLD, 60.0 * number) is not None for number in range(3)] == [True, True, True]


def test_message_says_what_to_do() -> None:
    message = News(Hotkey("5Grwvaef"), HOUR).of(OLD, 0.0)

    assert message is not None
    assert message.body == "The weights are 900 blocks old. Look at `gaia status`."
    assert message.urgency is Urgency.FAILURE
