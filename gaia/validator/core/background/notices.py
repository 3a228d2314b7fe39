"""Decides which troubles are news to the operator, and writes the message about them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from gaia.validator.core.status.troubles import Health, Part, Trouble, ago
from gaia.validator.utils.messenger import LONGEST_BODY, Message, Urgency

if TYPE_CHECKING:
    from gaia.validator.core.status.facts import Facts

BEATS: Final = 2
"""Beats in a row on which a trouble is seen before it is told, or is gone before its end is."""
_LONGEST_PROBLEM: Final = 240
_ROOM: Final = LONGEST_BODY - 60
"""Letters of the body for troubles; the rest is for the line about those that are left out."""
_SHOWN: Final = 8
_URGENCIES: Final = {Health.DEGRADED: Urgency.WARNING, Health.STUCK: Urgency.FAILURE}


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A trouble that the operator was told of, as it is kept over restarts."""

    key: str
    part: Part
    health: Health
    problem: str
    began_at: float
    """Unix seconds of the message about its beginning."""
    said_at: float
    """Unix seconds of the last message about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a message is about."""

    now: float
    """Unix seconds."""
    began: Sequence[Trouble] = ()
    """Troubles that began, or grew worse."""
    lasting: Sequence[tuple[Trouble, Told]] = ()
    """Troubles that are told again."""
    ended: Sequence[Told] = ()

    def __bool__(self) -> bool:
        return bool(self.began or self.lasting or self.ended)


class Notices:
    """Keeps what the operator was told.

    Parameters
    ----------
    least
        Least health that is told.
    remind_every_s
        Seconds after which a trouble that stays is told again.
    """

    def __init__(self, least: Health, remind_every_s: float, told: Sequence[Told] = ()) -> None:
        self._least = least
        self._remind_every_s = remind_every_s
        self._told = {each.key: each for each in told}
        self._seen: dict[str, int] = {}
        self._gone: dict[str, int] = {}

    @property
    def told(self) -> list[Told]:
        """The troubles of whose end the operator was not told yet."""
        return list(self._told.values())

    def look(self, troubles: Sequence[Trouble], unknown: Collection[Part], now: float) -> News:
        """Return the news of one beat; call `tell` once the operator has them, else they stay news.

        Parameters
        ----------
        troubles
            All troubles, the worst first.
        unknown
            Parts that could not be looked at; no trouble of theirs ends.
        now
            Unix seconds.
        """
        present: dict[str, Trouble] = {}
        for trouble in troubles:
            present.setdefault(trouble.key, trouble)
        worth = {key: trouble for key, trouble in present.items() if trouble.health >= self._least}
        self._seen = {key: self._seen.get(key, 0) + 1 for key in worth}
        missing = [key for key, each in self._told.items() if key not in present and each.part not in unknown]
        self._gone = {key: self._gone.get(key, 0) + 1 for key in missing}
        began = [
            trouble for key, trouble in worth.items() if self._seen[key] >= BEATS and self._is_new(trouble)
        ]
        lasting = [
            (trouble, self._told[key])
            for key, trouble in worth.items()
            if key in self._told and not self._is_new(trouble) and self._is_due(self._told[key], now)
        ]
        ended = [self._told[key] for key in missing if self._gone[key] >= BEATS]
        return News(now=now, began=began, lasting=lasting, ended=ended)

    def tell(self, news: News) -> None:
        """Remember that the operator has these news."""
        for trouble in (*news.began, *(trouble for trouble, _ in news.lasting)):
            earlier = self._told.get(trouble.key)
            self._told[trouble.key] = Told(
                key=trouble.key,
                part=trouble.part,
                health=max(trouble.health, earlier.health) if earlier else trouble.health,
                problem=_short(trouble.problem),
                began_at=earlier.began_at if earlier else news.now,
                said_at=news.now,
            )
        for each in news.ended:
            del self._told[each.key]

    def _is_new(self, trouble: Trouble) -> bool:
        told = self._told.get(trouble.key)
        return told is None or trouble.health > told.health

    def _is_due(self, told: Told, now: float) -> bool:
        # A clock that was set back must not silence the reminders.
        return not 0 <= now - told.said_at < self._remind_every_s


def message_of(news: News, facts: Facts, *, is_well: bool) -> Message:
    """Return the one message about these news.

    Parameters
    ----------
    is_well
        Whether no trouble is left, also none that is not told.
    """
    counts = (
        (len(news.began), "began"),
        (len(news.lasting), "not over"),
        (len(news.ended), "over"),
    )
    title = ", ".join(f"{count} {what}" for count, what in counts if count)
    lines = [
        *(f"{_word(trouble)}: {_line(trouble)}" for trouble in news.began),
        *(f"still {_word(trouble)}, told {ago(news.now - told.began_at)} ago: {_line(trouble)}" for trouble, told in news.lasting),
        *(f"over after {ago(news.now - told.began_at)}: {told.problem}" for told in news.ended),
    ]  # fmt: skip
    if is_well:
        lines.append("All is well.")
    worst = max(
        (trouble.health for trouble in (*news.began, *(one for one, _ in news.lasting))), default=None
    )
    urgency = _URGENCIES[worst] if worst else Urgency.GOOD
    return Message(title=f"{name_of(facts)}: {title}", body=_fitted(lines), urgency=urgency)


def name_of(facts: Facts) -> str:
    """Return the words that open the title of each message."""
    hotkey = "" if facts.chain is None else f" {facts.chain.hotkey[:_SHOWN]}"
    return f"Gaia validator{hotkey}"


def start_message(facts: Facts, version: str) -> Message:
    """Return the message about a start: what runs, for whom, and with which rules."""
    chain = facts.chain
    lines = [
        f"version {version}, rule set {facts.rule_set}",
        "the chain is not read yet"
        if chain is None
        else f"netuid {chain.netuid}, hotkey {chain.hotkey}, uid {chain.uid}, block {chain.block}",
        "dry run: no weights are signed" if facts.limits.is_dry_run else "weights are signed",
    ]
    return Message(title=f"{name_of(facts)} started", body=_fitted(lines), urgency=Urgency.NEWS)


def _word(trouble: Trouble) -> str:
    return trouble.health.name.lower()


def _line(trouble: Trouble) -> str:
    return f"{_short(trouble.problem)}; remedy: {_short(trouble.remedy)}"


def _short(text: str) -> str:
    """Return `text` on one line, and no longer than is needed to recognise it."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_PROBLEM else line[: _LONGEST_PROBLEM - 3] + "..."


def _fitted(lines: Sequence[str]) -> str:
    """Return as many lines as a message holds, and the number of the others."""
    kept: list[str] = []
    for line in lines:
        if sum(len(each) + 1 for each in (*kept, line)) > _ROOM:
            return "\n".join([*kept, f"and {len(lines) - len(kept)} more; see `gaia status`"])
        kept.append(line)
    return "\n".join(kept)
