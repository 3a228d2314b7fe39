"""Scoring rules of the subnet, by name."""

from __future__ import annotations

from collections.abc import Mapping

from gaia.tasks.defined_tasks.weather.rules import gaia_2_9, gaia_next
from gaia.tasks.defined_tasks.weather.rules.base import Component, RuleSet

RULE_SETS: Mapping[str, RuleSet] = {rules.name: rules for rules in (gaia_2_9.RULES, gaia_next.RULES)}

__all__ = ["RULE_SETS", "Component", "RuleSet"]
