"""The commands; each loads its own module only when it runs. `gaia --help` shows these sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from gaia.cli.source import Source


def status(source: Source, arguments: argparse.Namespace) -> int:
    """Print the state of the newest run, what the validator waits for, and the last weights."""
    from gaia.cli import overview

    return overview.status(source, arguments)


def runs(source: Source, arguments: argparse.Namespace) -> int:
    """Print one line per run, oldest first."""
    from gaia.cli import overview

    return overview.runs(source, arguments)


def scores(source: Source, arguments: argparse.Namespace) -> int:
    """Print the overall scores of the given runs, best first."""
    from gaia.cli import overview

    return overview.scores(source, arguments)


def compare(source: Source, arguments: argparse.Namespace) -> int:
    """Print agreement, rank correlation and cost of two rule sets, per run and in total."""
    from gaia.cli import comparing

    return comparing.compare(source, arguments)


def replay(source: Source, arguments: argparse.Namespace) -> int:
    """Recompute runs and the weights made from them; exit code 1 if a bit differs or an input is missing."""
    from gaia.cli import replaying

    return replaying.replay_runs(source, arguments)


def explain(source: Source, arguments: argparse.Namespace) -> int:
    """Print how one miner's weight was computed, back to the bytes that it sent."""
    from gaia.cli import explaining

    return explaining.explain(source, arguments)


def plot(source: Source, arguments: argparse.Namespace) -> int:
    """Draw the scorecard, skill, error-map, leaderboard or clones of the given runs into a PNG file."""
    from gaia.cli import plotting

    return plotting.plot(source, arguments)


def runbook(source: Source, arguments: argparse.Namespace) -> int:
    """Print which causes of an alert hold now and what to do; exit code 1 if any holds."""
    from gaia.cli import runbook as runbooks

    return runbooks.runbook(source, arguments)
