"""Weight rules of the subnet, by name; they turn the runs of the window into shares of the weight.

A weight rule has the name of the rule set whose scores it uses.
"""

from __future__ import annotations

from collections.abc import Mapping

from gaia.validator.core.weights.rules import gaia_2_9, gaia_next
from gaia.validator.core.weights.rules.base import Copies, Entry, Run, WeightRule

WEIGHT_RULES: Mapping[str, WeightRule] = {rule.name: rule for rule in (gaia_2_9.RULE, gaia_next.RULE)}

__all__ = ["WEIGHT_RULES", "Copies", "Entry", "Run", "WeightRule"]
