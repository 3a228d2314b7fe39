"""Which runs, miners and rule sets the words of the command line mean."""

from __future__ import annotations

from collections.abc import Sequence

from gaia.validator.db.history import Row, RunSummary
from gaia.validator.utils.errors import GaiaError

ALL = "all"
_FEWEST_LETTERS = 4


class NotThere(GaiaError):
    """What was asked for does not exist; the sentence says what does."""


def runs_named(names: Sequence[str], known: Sequence[RunSummary]) -> list[RunSummary]:
    """Return the runs that `names` mean: ids, the start of an id, "all", "last" or "last:N"; oldest first.

    Raises
    ------
    NotThere
        If a name means no run.
    """
    chosen: set[str] = set()
    for name in names:
        found = _runs_of(name, [run.run_id for run in known])
        if not found:
            newest = f"the newest is {known[-1].run_id}" if known else "there are none yet"
            raise NotThere(f"no run is called {name}; {newest}")
        chosen.update(found)
    return [run for run in known if run.run_id in chosen]


def miner_named(name: str, forecasts: Sequence[Row]) -> Row:
    """Return the forecast of one run whose miner `name` means: a uid, a hotkey, or the start of one.

    Raises
    ------
    NotThere
        If it means none, or several.
    """
    found = [row for row in forecasts if name in (row["hotkey"], str(row["uid"]))]
    if not found and len(name) >= _FEWEST_LETTERS:
        found = [row for row in forecasts if row["hotkey"].startswith(name)]
    if len(found) != 1:
        raise NotThere(
            f"{name} means {len(found)} miners of this run; name a uid, a hotkey or the start of a hotkey"
        )
    return found[0]


def _runs_of(name: str, known: Sequence[str]) -> Sequence[str]:
    if name == ALL:
        return known
    word, _, count = name.partition(":")
    if word == "last" and (not count or count.isdigit()):
        return known[-int(count or 1) :] if int(count or 1) else []
    return [run_id for run_id in known if run_id.startswith(name)]
