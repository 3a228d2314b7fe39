"""The commands; each loads its own module only when it runs. `gaia --help` shows these sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from gaia.cli.source import Source


def status(arguments: argparse.Namespace) -> int:
    """Print whether all is well, what the validator does, what is wrong and what helps; exit code 0, 1 or 2."""
    from gaia.cli.status import command

    return command.status(arguments)


def runs(source: Source, arguments: argparse.Namespace) -> int:
    """Print one line per run, oldest first."""
    from gaia.cli.lists import overview

    return overview.runs(source, arguments)


def run(source: Source, arguments: argparse.Namespace) -> int:
    """Print one run: its leads, what it waits for, and where each forecast stands, by state and the best first."""
    from gaia.cli.lists import one_run

    return one_run.show(source, arguments)


def logs(arguments: argparse.Namespace) -> int:
    """Print the newest log lines, chosen by level, run, miner, process, event and time."""
    from gaia.cli.logs import command

    return command.logs(arguments)


def debug_bundle(arguments: argparse.Namespace) -> int:
    """Write status, settings, logs, stacks, metrics and versions into one file, without secrets."""
    from gaia.cli.bundle import command

    return command.bundle(arguments)


def completion(arguments: argparse.Namespace) -> int:
    """Print the completion script of a shell."""
    from gaia.cli.completion import script_for
    from gaia.cli.parsers import parser

    print(script_for(arguments.shell, parser()), end="")
    return 0


def weights_preview(source: Source, arguments: argparse.Namespace) -> int:
    """Print the weights that would be set now; nothing is signed."""
    from gaia.cli.lists import weights

    return weights.preview(source, arguments)


def weights_history(source: Source, arguments: argparse.Namespace) -> int:
    """Print the newest journalled weight vectors and what became of them, newest first."""
    from gaia.cli.lists import weights

    return weights.past(source, arguments)


def consensus(source: Source, arguments: argparse.Namespace) -> int:
    """Print our weights beside the other validators', and the trust and dividends that they earn."""
    from gaia.cli.lists import consensus as view

    return view.consensus(source, arguments)


def weights_verify(source: Source, arguments: argparse.Namespace) -> int:
    """Print for each journalled vector whether the chain holds what the journal says; exit code 1 if not."""
    from gaia.cli.lists import verify

    return verify.verify(source, arguments)


def scores(source: Source, arguments: argparse.Namespace) -> int:
    """Print the overall scores of the given runs, best first."""
    from gaia.cli.lists import overview

    return overview.scores(source, arguments)


def compare(source: Source, arguments: argparse.Namespace) -> int:
    """Print agreement, rank correlation and cost of two rule sets, per run and in total."""
    from gaia.cli import comparing

    return comparing.compare(source, arguments)


def replay(source: Source, arguments: argparse.Namespace) -> int:
    """Recompute runs and the weights made from them; exit code 1 if a bit differs or an input is missing."""
    from gaia.cli import replaying

    return replaying.replay_runs(source, arguments)


def what_if(source: Source, arguments: argparse.Namespace) -> int:
    """Print how weights would change under other settings or rules; exit code 1 if no run could be replayed."""
    from gaia.cli.whatif import command

    return command.what_if(source, arguments)


def explain(source: Source, arguments: argparse.Namespace) -> int:
    """Print how one miner's weight was computed, back to the bytes that it sent."""
    from gaia.cli import explaining

    return explaining.explain(source, arguments)


def plot(source: Source, arguments: argparse.Namespace) -> int:
    """Draw the scorecard, skill, error-map, leaderboard or clones of the given runs into a PNG file."""
    from gaia.cli import plotting

    return plotting.plot(source, arguments)


def runbook(arguments: argparse.Namespace) -> int:
    """Print which causes of an alert hold now and what to do; exit code 1 if any holds."""
    from gaia.cli import runbook as runbooks

    return runbooks.runbook(arguments)


def export_site(arguments: argparse.Namespace) -> int:
    """Write static pages about runs, miners and weights into a folder, for anybody to read."""
    from gaia.cli.export import site

    return site.export_site(arguments)


def export_weights(source: Source, arguments: argparse.Namespace) -> int:
    """Write each journalled vector and everything that it was computed from, for anybody to verify."""
    from gaia.cli.export import inputs

    return inputs.export_weights(source, arguments)
