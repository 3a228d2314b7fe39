"""The commands, each of which loads its own module only when it runs; `gaia --help` shows these sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from gaia.cli.source import Source


def status(source: Source, arguments: argparse.Namespace) -> int:
    """Print where the newest run stands, what is waited for, and the last weights."""
    from gaia.cli import overview

    return overview.status(source, arguments)


def runs(source: Source, arguments: argparse.Namespace) -> int:
    """Print one line a run, oldest first."""
    from gaia.cli import overview

    return overview.runs(source, arguments)


def scores(source: Source, arguments: argparse.Namespace) -> int:
    """Print the overall scores of some runs, best first."""
    from gaia.cli import overview

    return overview.scores(source, arguments)


def compare(source: Source, arguments: argparse.Namespace) -> int:
    """Print agreement, rank correlation and cost of two rule sets, run by run and on the whole."""
    from gaia.cli import comparing

    return comparing.compare(source, arguments)


def replay(source: Source, arguments: argparse.Namespace) -> int:
    """Compute runs anew, and the weights made from them; exit code 1 if a bit differs or an input is gone."""
    from gaia.cli import replaying

    return replaying.replay_runs(source, arguments)


def explain(source: Source, arguments: argparse.Namespace) -> int:
    """Print how one miner came by its weight, as far back as the bytes it sent."""
    from gaia.cli import explaining

    return explaining.explain(source, arguments)


def plot(source: Source, arguments: argparse.Namespace) -> int:
    """Draw scorecard, skill, error-map, leaderboard or clones of some runs into a PNG."""
    from gaia.cli import plotting

    return plotting.plot(source, arguments)
