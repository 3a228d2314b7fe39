"""What is known of one node: whether it answers, and whether it is believed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

FORGOTTEN_S: Final = 3600.0
"""Seconds after which a contradiction counts no more."""
LIMIT: Final = 4
"""Weight of the contradictions after which a node is believed no more."""
AT_HEAD: Final = 1
"""Weight of a contradiction at the newest block, where two nodes may have different blocks for a moment."""
AT_DEPTH: Final = 2
"""Weight of a contradiction at a block that is some blocks old."""
REDEEMED: Final = 12
"""Comparisons in succession without a contradiction after which a node is believed again."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 60.0

log = structlog.get_logger("security")


class Standing:
    """Contradictions and failures of one node.

    Parameters
    ----------
    name
        The node's name in logs and metrics.
    is_alone
        Whether it is the only node; it is always asked and always believed then.
    """

    def __init__(self, name: str, *, is_alone: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.is_trusted = True
        self.is_up = False
        """Whether it gave its last answer."""
        self.problem = ""
        """Its last failure or contradiction; "": none since it is up and believed."""
        self.contradictions = 0
        """Number of answers that more than half of the nodes contradicted."""
        self._is_alone = is_alone
        self._clock = clock
        self._counted: dict[tuple[int, str], tuple[float, int]] = {}
        """(Block, question, "" at the newest block) -> (time, weight) of each contradiction."""
        self._agreements = 0
        self._asked_again_at = 0.0
        self._wait_s = _FIRST_WAIT_S

    @property
    def is_due(self) -> bool:
        """Whether it is asked now; after a failure it is left alone for a while, twice as long each time."""
        return self._is_alone or self._clock() >= self._asked_again_at

    @property
    def is_disputed(self) -> bool:
        """Whether it contradicts the others now; a fork at the newest block does not count."""
        now = self._clock()
        recent = [weight for at, weight in self._counted.values() if now - at < FORGOTTEN_S]
        return not self.is_trusted or sum(recent) >= AT_DEPTH

    def answered(self) -> None:
        """Note that it answers."""
        if not self.is_up:
            log.info("chain_node_up", node=self.name)
        if self.is_trusted:
            self.problem = ""
        self.is_up = True
        self._asked_again_at, self._wait_s = 0.0, _FIRST_WAIT_S

    def failed(self, why: str) -> None:
        """Note that it did not answer, or not in time."""
        if self.is_trusted:
            self.problem = why
        if self._clock() < self._asked_again_at:
            self.is_up = False
            return  # several questions of one moment failed
        if self.is_up or self._wait_s == _FIRST_WAIT_S:
            log.warning("chain_node_failed", node=self.name, reason=why, once=(self.name, why))
        self.is_up = False
        self._asked_again_at = self._clock() + self._wait_s
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)

    def contradicted(self, block: int, question: str, words: str, weight: int) -> None:
        """Note that more than half of the nodes gave another answer about `block`.

        A node that does so again within an hour is believed no more. Two nodes may have different
        newest blocks for a moment, so that one contradiction there proves nothing.
        """
        # All answers about a forked block differ.
        key = (block, "" if weight == AT_HEAD else question)
        if self._is_alone or key in self._counted:
            return
        now = self._clock()
        self._counted[key] = (now, weight)
        self.contradictions += 1
        self._agreements = 0
        self.problem = f"{question}: {words}"
        log.warning("chain_node_contradicted", node=self.name, block=block, question=question, words=words)
        recent = {key: kept for key, kept in self._counted.items() if now - kept[0] < FORGOTTEN_S}
        self._counted = recent
        if self.is_trusted and sum(each for _, each in recent.values()) >= LIMIT:
            self.is_trusted = False
            log.error("chain_node_distrusted", node=self.name, block=block, question=question, words=words)

    def agreed(self) -> None:
        """Note a comparison in which it told all that the others tell."""
        if self.is_trusted:
            return
        self._agreements += 1
        if self._agreements >= REDEEMED:
            self.is_trusted, self.problem = True, ""
            self._counted.clear()
            log.info("chain_node_trusted", node=self.name, comparisons=self._agreements)
