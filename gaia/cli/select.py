"""Resolves the names of runs, miners and rule sets that the command line is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from gaia.cli.tables import print_note
from gaia.validator.utils.errors import GaiaError

if TYPE_CHECKING:
    from gaia.validator.db.history import RunSummary

ALL = "all"
_FEWEST_LETTERS = 4


class NotThere(GaiaError):
    """The requested run, miner or rule set does not exist; the sentence says what does."""


def newest_named(name: str, known: Sequence[RunSummary]) -> RunSummary:
    """Return the one run that `name` means, where "last" means the newest run in whatever state.

    Raises
    ------
    NotThere
        If no run or several runs match.
    """
    if name == "last" and known:
        return known[-1]
    (*others, last) = runs_named([name], known)
    if others:
        raise NotThere(f"{name} means {len(others) + 1} runs; name one")
    return last


def runs_named(
    names: Sequence[str], known: Sequence[RunSummary], say: Callable[[str], None] = print_note
) -> list[RunSummary]:
    """Return the runs that `names` mean, oldest first.

    A name is an id, the start of an id, "all", "last" or "last:N". "last" means the newest
    finished run, because only finished runs have final scores. If a newer run exists, `say` is
    called with a sentence that names the chosen one.

    Raises
    ------
    NotThere
        If a name means no run.
    """
    chosen: set[str] = set()
    for name in names:
        found = _runs_of(name, known, say)
        if not found:
            newest = f"the newest is {known[-1].run_id}" if known else "there are none yet"
            raise NotThere(f"no run is called {name}; {newest}")
        chosen.update(run.run_id for run in found)
    return [run for run in known if run.run_id in chosen]


class OfMiner(Protocol):
    """A row that belongs to one miner."""

    @property
    def hotkey(self) -> str: ...

    @property
    def uid(self) -> int: ...


M = TypeVar("M", bound=OfMiner)


def miner_named(name: str, forecasts: Sequence[M]) -> M:
    """Return the forecast of the miner that `name` means: a uid, a hotkey or the start of a hotkey.

    Raises
    ------
    NotThere
        If no miner or several miners match.
    """
    found = [row for row in forecasts if name in (row.hotkey, str(row.uid))]
    if not found and len(name) >= _FEWEST_LETTERS:
        found = [row for row in forecasts if row.hotkey.startswith(name)]
    if len(found) != 1:
        raise NotThere(
            f"{name} means {len(found)} miners of this run; name a uid, a hotkey or the start of a hotkey"
        )
    return found[0]


def nothing_scored(runs: Sequence[RunSummary]) -> NotThere:
    """Return the error for runs in which no forecast has a score yet."""
    if len(runs) != 1:
        return NotThere(
            f"nothing is scored in {'this run' if len(runs) == 1 else f'these {len(runs)} runs'} yet"
        )
    (run,) = runs
    if run.is_open:
        return NotThere(f"run {run.run_id} is open and nothing of it is scored yet")
    return NotThere(f"run {run.run_id} ended without a score: no miner sent a forecast that could be scored")


def _runs_of(name: str, known: Sequence[RunSummary], say: Callable[[str], None]) -> Sequence[RunSummary]:
    if name == ALL:
        return known
    word, _, count = name.partition(":")
    if word == "last" and (not count or count.isdigit()):
        return _last(name, int(count or 1), known, say)
    return [run for run in known if run.run_id.startswith(name)]


def _last(
    name: str, count: int, known: Sequence[RunSummary], say: Callable[[str], None]
) -> Sequence[RunSummary]:
    """Return the newest `count` runs that are finished, else those with scores, else any."""
    finished = [run for run in known if run.has_scores and not run.is_open]
    begun = [run for run in known if run.has_scores]
    chosen = (finished or begun or known)[-count:] if count else []
    if not chosen:
        return []
    meant = chosen[0].run_id if len(chosen) == 1 else f"{chosen[0].run_id} to {chosen[-1].run_id}"
    newer = sum(run.init_time > chosen[-1].init_time for run in known)
    if finished and newer:
        say(f"{name} means {meant}, the newest with final scores; {newer} newer have none yet")
    elif begun and not finished:
        say(f"{name} means {meant}: no run is finished yet, so no score of it is final")
    return chosen
