"""Reads the change that `gaia what-if` is asked about, and refuses settings that it cannot replay."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gaia.validator.app.startup.reading import require_known_fields
from gaia.validator.utils.config import Settings, names_of, shown, variable_of
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.settings.chain import ChainSettings
from gaia.validator.utils.settings.contract import ContractSettings
from gaia.validator.utils.settings.miners import MinersSettings
from gaia.validator.utils.settings.schedule import ScheduleSettings
from gaia.validator.utils.settings.sources import SourcesSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

RULES: Final = "rule_set"
WINDOW: Final = "weights_window_days"
CONTRAST: Final = "contrast_gamma"
BURN: Final = ("burn_enabled", "burn_fraction", "burn_hotkey")
CONTRACT: Final = ("day1_fields", "day1_lead_hours", "final_fields", "final_lead_hours")
REPLAYABLE: Final = (*BURN, CONTRAST, *CONTRACT, RULES, WINDOW)
"""Settings whose effect on weights follows from what is stored."""
_BEFOREHAND: Final = frozenset(
    name
    for section in (ContractSettings, MinersSettings, ScheduleSettings, SourcesSettings)
    for name in section.model_fields
) - {*REPLAYABLE}
"""Settings that act before a forecast is scored."""
_MOST_ITEMS: Final = 5


@dataclass(frozen=True, slots=True)
class Change:
    """The settings as they are, and as they would be."""

    before: Settings
    after: Settings
    names: frozenset[str]
    """Fields that the command line names, also if their value stays."""

    @property
    def rescores(self) -> bool:
        """Whether it can change scores, not only the weights made of them."""
        return not self.names.isdisjoint({RULES, *CONTRACT})

    @property
    def contract(self) -> Mapping[str, Sequence[Any]]:
        """Named leads and fields at which runs would be scored."""
        return {name: getattr(self.after, name) for name in CONTRACT if name in self.names}

    def described(self) -> dict[str, tuple[str, str]]:
        """Return variable -> its value before and after, in the form of `.env`."""
        return {
            variable_of(name): (shown(getattr(self.before, name)), shown(getattr(self.after, name)))
            for name in sorted(self.names)
        }

    def lines(self) -> list[str]:
        """Return one line per setting; of a list, what is added and removed."""
        return [
            f"{variable_of(name)} {_told(getattr(self.before, name), getattr(self.after, name))}"
            for name in sorted(self.names)
        ]


def change_of(settings: Settings, words: Sequence[str], rule_set: str | None) -> Change:
    """Return the change that ``--set NAME=VALUE`` (`words`) and ``--rule-set`` describe.

    Raises
    ------
    ConfigurationError
        If there is none, a word has another form, or a setting or its value cannot be replayed.
    """
    if rule_set is not None:
        words = [*words, f"{variable_of(RULES)}={rule_set}"]
    if not words:
        raise ConfigurationError("--set", "no change is named", "add --set NAME=VALUE or --rule-set NAME")
    named: dict[str, str] = {}
    variables: dict[str, str] = {}
    for word in words:
        variable, equals, value = word.partition("=")
        if not equals:
            raise ConfigurationError("--set", f'"{word[:80]}" is not of the form NAME=VALUE', "write it so")
        name = _field_of(variable)
        if name in named:
            raise ConfigurationError(variable, "is given twice", "give it once")
        named[name] = variables[variable] = value
    after = settings.changed(variables)
    require_known_fields(after.contract)
    return Change(settings, after, frozenset(named))


def _field_of(variable: str) -> str:
    """Return the field that is read from `variable`; raise unless its effect can be replayed."""
    fields = {each: name for name in Settings.model_fields for each in names_of(name)}
    allowed = f"name one of {', '.join(map(variable_of, REPLAYABLE))}"
    name = fields.get(variable)
    if name in REPLAYABLE:
        return name
    if name is None:
        close = difflib.get_close_matches(variable.upper(), fields, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigurationError(variable[:80] or "--set", f"is not a setting{hint}", allowed)
    if name in _BEFOREHAND or name in ChainSettings.model_fields:
        raise ConfigurationError(
            variable, "acts before forecasts are scored, so stored runs cannot show its effect", allowed
        )
    raise ConfigurationError(variable, "does not change weights", allowed)


def _told(before: Any, after: Any) -> str:
    """Return a change in words that fit a line.

    >>> _told([24, 48, 72], [24]), _told(0.5, 0.75), _told("", "5Burn"), _told([24], [24])
    ('without 48, 72', '0.5 -> 0.75', '(empty) -> 5Burn', 'as it is')
    """
    if before == after:
        return "as it is"
    if not isinstance(before, list):
        return f"{shown(before) or '(empty)'} -> {shown(after) or '(empty)'}"
    removed = [each for each in before if each not in after]
    added = [each for each in after if each not in before]
    parts = [f"{word} {_some(items)}" for word, items in (("without", removed), ("with", added)) if items]
    return "; ".join(parts) or "in another order"


def _some(items: Sequence[Any]) -> str:
    told = ", ".join(map(str, items[:_MOST_ITEMS]))
    return told if len(items) <= _MOST_ITEMS else f"{told} and {len(items) - _MOST_ITEMS} others"
