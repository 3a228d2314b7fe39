"""Decides from questions and answers how long a server has answered nobody; it has no socket and no clock."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Replies:
    """Moments of the questions to one server that no later answer has settled.

    >>> replies = Replies(every_s=5.0)
    >>> replies.asked(0.0)
    >>> replies.answered(0.0)
    >>> replies.asked(5.0)
    >>> replies.unanswered_s(12.0)
    7.0
    """

    every_s: float
    """Seconds between two questions."""
    _pending: list[float] = field(default_factory=list)
    """Moments of the unsettled questions in seconds, oldest first."""
    _asked_at: float = float("-inf")

    def is_due(self, now: float) -> bool:
        """Return whether another question is to be asked."""
        return now >= self._asked_at + self.every_s

    def asked(self, now: float) -> None:
        """Note a question, also one that could not be delivered."""
        self._asked_at = now
        self._pending.append(now)

    def answered(self, asked_at: float) -> None:
        """Note the answer to the question of `asked_at`, which settles all earlier ones.

        Each question has a process of its own. If one process hangs, the server may still be well.
        """
        self._pending = [moment for moment in self._pending if moment > asked_at]

    def unanswered_s(self, now: float) -> float:
        """Return the age of the oldest unsettled question in seconds; 0 if there is none."""
        return now - self._pending[0] if self._pending else 0.0
