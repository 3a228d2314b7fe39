"""Decides which findings are worth a message: a change that stays, and a reminder now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gaia.cli.watch.findings import Finding, State
from gaia.validator.utils.messenger import Message, Urgency

if TYPE_CHECKING:
    from gaia.validator.utils.identities import Hotkey

UNREADABLE_LOOKS = 3
"""Looks in a row without an answer before that is said; one lost connection is no news."""
_SHOWN = 8


class News:
    """Remembers what was said about one validator.

    Parameters
    ----------
    remind_every_s
        Seconds after which a trouble that stays is said again.
    """

    def __init__(self, hotkey: Hotkey, remind_every_s: float) -> None:
        self._name = hotkey[:_SHOWN]
        self._remind_every_s = remind_every_s
        self._said = State.WELL
        self._said_at = 0.0
        self._unread = 0

    def of(self, finding: Finding, now: float) -> Message | None:
        """Return the message for a finding at `now`, in seconds of any steady clock; None if it is no news.

        A finding stays news until `taken` is called.
        """
        self._unread = self._unread + 1 if finding.state is State.UNREADABLE else 0
        if 0 < self._unread < UNREADABLE_LOOKS:
            return None
        is_change = finding.state is not self._said
        is_reminder = finding.state.is_trouble and now - self._said_at >= self._remind_every_s
        if not (is_change or is_reminder):
            return None
        return self._message(finding)

    def taken(self, finding: Finding, now: float) -> None:
        """Note that the message about a finding reached somebody."""
        self._said, self._said_at = finding.state, now

    def _message(self, finding: Finding) -> Message:
        if not finding.state.is_trouble:
            return Message(
                title=f"Gaia validator {self._name}: well again",
                body=_sentence(finding.sentence),
                urgency=Urgency.GOOD,
            )
        is_doubt = finding.state in (State.UNREADABLE, State.STANDING)
        return Message(
            title=f"Gaia validator {self._name}: {finding.state}",
            body=f"{_sentence(finding.sentence)} {_sentence(finding.remedy)}",
            urgency=Urgency.WARNING if is_doubt else Urgency.FAILURE,
        )


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."
