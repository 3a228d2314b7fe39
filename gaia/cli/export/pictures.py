"""Draws scorecards and error maps of the best miners for a site."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from gaia.cli.plotting import Album, png_of
from gaia.cli.tables import print_note
from gaia.validator.core.site.frame import slug
from gaia.validator.core.site.model import PictureShown, Site
from gaia.validator.utils.errors import GaiaError

if TYPE_CHECKING:
    from gaia.cli.source import Source
    from gaia.validator.utils.identities import RunId

_KINDS = {
    "scorecard": "RMSE relative to climatology by field and lead, completed runs",
    "error-map": "Forecast minus truth at the last lead, newest completed run",
}


def with_pictures(site: Site, source: Source, count: int) -> tuple[Site, dict[str, bytes]]:
    """Return the site with pictures of its best `count` miners, and the files of the pictures.

    A picture that cannot be drawn is left out, and a note says why. Open runs are not drawn.
    """
    completed = [run.run_id for run in site.runs if not run.is_open and run.run_id in _scored(site)]
    best = {row.hotkey for row in site.leaderboard.miners[:count]}
    if not best:
        return site, {}
    files: dict[str, bytes] = {}
    miners = []
    for miner in site.miners:
        shown = []
        for kind, title in _KINDS.items() if miner.hotkey in best else ():
            runs = completed if kind == "scorecard" else completed[:1]
            path = f"pictures/{kind}-{slug(miner.hotkey)}.png"
            try:
                files[path] = _drawn(source, kind, runs, miner.hotkey, site.leaderboard.rule_set)
            except GaiaError as error:
                print_note(f"uid {miner.uid}: no {kind}, because {error}")
                continue
            shown.append(PictureShown(file=path, title=f"{title}: uid {miner.uid}"))
        miners.append(replace(miner, pictures=shown))
    return replace(site, miners=miners), files


def _scored(site: Site) -> set[RunId]:
    """Return the runs that give the best miners their standings."""
    return {standing.run_id for row in site.leaderboard.miners for standing in row.standings}


def _drawn(source: Source, kind: str, runs: list[RunId], hotkey: str, rule_set: str) -> bytes:
    asked = argparse.Namespace(
        picture=kind,
        runs=runs,
        rule_set=rule_set,
        miner=hotkey,
        against="climatology",
        field=None,
        lead=None,
        workers=None,
    )
    return png_of(Album(source, asked), asked)
