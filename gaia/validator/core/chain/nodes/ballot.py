"""Decides which of several answers is true: the one that more than half of the nodes give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gaia.validator.utils.errors import TransientError

MOST_LETTERS: Final = 80
"""Largest length of a value in a sentence."""


class Ballot:
    """The answers of nodes to one question; a node that cannot answer abstains.

    Parameters
    ----------
    voters
        Number of nodes that are asked.

    Examples
    --------
    >>> ballot = Ballot(3)
    >>> ballot.add("one", 7), ballot.add("two", 8), ballot.add("three", 7)
    (None, None, None)
    >>> ballot.winners(), ballot.dissenters()
    (['one', 'three'], ['two'])
    """

    def __init__(self, voters: int) -> None:
        self._voters = voters
        self._answers: dict[str, object] = {}
        self._keys: dict[str, str] = {}
        self.errors: list[Exception] = []
        """Errors of those that abstained, in order of arrival."""

    def add(self, node: str, answer: Any) -> None:
        """Count the answer of one node; one that cannot be told in words counts as none."""
        try:
            key = repr(answer)
        except RecursionError:
            self.abstain(TransientError(f"{node} answers what is nested too deeply"))
            return
        self._answers[node] = answer
        self._keys[node] = key

    def abstain(self, error: Exception) -> None:
        """Note that one node did not answer."""
        self.errors.append(error)

    @property
    def answers(self) -> Mapping[str, Any]:
        """Node -> its answer."""
        return self._answers

    @property
    def is_decided(self) -> bool:
        """Whether no further answer can change the winner, or none is to come."""
        return 2 * len(self._best()) > self._voters or self.is_complete

    @property
    def is_complete(self) -> bool:
        return len(self._answers) + len(self.errors) >= self._voters

    def winners(self) -> Sequence[str]:
        """Return the nodes with the answer that more than half of all answers equal; none: there is no such answer."""
        best = self._best()
        return best if 2 * len(best) > len(self._answers) else []

    def dissenters(self) -> Sequence[str]:
        """Return the nodes with another answer than the winners; none while there are no winners."""
        winners = self.winners()
        return [node for node in self._answers if node not in winners] if winners else []

    def dispute(self) -> str:
        """Return in words how the first two different answers differ."""
        (first, one), *others = self._answers.items()
        second, other = next(((name, told) for name, told in others if repr(told) != repr(one)), (first, one))
        return f"for {first} and {second}, {difference(one, other)}"

    def _best(self) -> list[str]:
        groups: dict[str, list[str]] = {}
        for node, key in self._keys.items():
            groups.setdefault(key, []).append(node)
        return max(groups.values(), key=len, default=[])


def difference(told: Any, true: Any, place: str = "") -> str:
    """Return in words the first place in which an answer differs from another.

    >>> difference({"axons": [{"ip": 0}]}, {"axons": [{"ip": 9}]})
    'axons[0].ip is 0, not 9'
    >>> difference(4, 5)
    '4, not 5'
    """
    if isinstance(told, Mapping) and isinstance(true, Mapping):
        for key in [*true, *(key for key in told if key not in true)]:
            if repr(told.get(key)) != repr(true.get(key)):
                return difference(told.get(key), true.get(key), f"{place}.{key}" if place else str(key))
    if isinstance(told, list | tuple) and isinstance(true, list | tuple) and len(told) == len(true):
        for index, (one, other) in enumerate(zip(told, true, strict=True)):
            if repr(one) != repr(other):
                return difference(one, other, f"{place}[{index}]")
    words = f"{_short(told)}, not {_short(true)}"
    return f"{place} is {words}" if place else words


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}..."
